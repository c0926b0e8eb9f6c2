//! `holdfast`: the command line. Everything it does is in `holdfastd::cli`.

fn main() -> std::process::ExitCode {
    holdfastd::cli::main()
}
