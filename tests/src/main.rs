//! The binary under test: the same `main` as the product's.

fn main() -> std::process::ExitCode {
    groundcrew::main()
}
