//! The password file: whoever is in a file that is taken is let in with his password, and with no other.
#![no_main]

use holdfastd::auth::Users;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(users) = holdfast_fuzz::within(4 * data.len() + (64 << 10), || Users::parse(data))
    else {
        return;
    };
    for line in data.split(|byte| *byte == b'\n').take(8) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (user, password) = (&line[..colon], &line[colon + 1..]);
        assert!(users.check(user, password), "a user of the file is not let in");
        let wrong = [password, b"?"].concat();
        let there = [user, b":", wrong.as_slice()].concat();
        if !data
            .split(|byte| *byte == b'\n')
            .any(|one| one.strip_suffix(b"\r").unwrap_or(one) == there)
        {
            assert!(!users.check(user, &wrong), "a wrong password is let in");
        }
    }
});
