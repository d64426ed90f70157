//! The one binary.

fn main() -> std::process::ExitCode {
    groundcrew::main()
}
