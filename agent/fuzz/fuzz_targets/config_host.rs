//! The host's file, from any text.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(problems) = groundcrew::config::host::parse("groundcrew.toml", text) {
        assert!(!problems.to_string().is_empty(), "a refusal says why");
    }
});
