//! The configuration: a file (what is before the first NUL) and flags (what is behind it, a NUL between them).
//! Whatever they hold, the answer is a configuration or a list of what is wrong, in few words.
#![no_main]

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;

use holdfastd::config::{Config, Sources};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == 0);
    let file = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let mut args: Vec<OsString> = vec!["--config".into(), "/etc/holdfast.toml".into()];
    args.extend(parts.take(16).map(|part| OsString::from_vec(part.to_vec())));
    let read_file = |_: &std::path::Path| -> io::Result<String> { Ok(file.clone()) };
    let sources = Sources {
        args,
        env: Vec::new(),
        read_file: &read_file,
        resolve: &|_| Vec::new(),
        cwd: "/".into(),
        processors: 2,
        pid: 1,
    };
    if let Err(problems) = Config::from_sources(&sources) {
        let said = problems.to_string();
        assert!(!said.is_empty());
        assert!(said.len() <= 64 * data.len() + (64 << 10), "{} bytes of complaints", said.len());
    }
});
