//! A release's release.toml, from any text.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(problems) = groundcrew::config::release::parse(text) {
        assert!(!problems.to_string().is_empty(), "a refusal says why");
    }
});
