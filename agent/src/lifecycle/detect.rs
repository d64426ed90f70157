//! Whether this host is an EC2 instance, without asking the network: off EC2 the address of the
//! metadata service may be anybody's.

use camino::Utf8Path;

/// What was said about it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signs {
    /// The configuration's word, which is the last.
    pub(super) forced: Option<bool>,
    /// The environment forbids to use the metadata service.
    pub(super) disabled: bool,
    /// The environment says where the metadata service is.
    pub(super) endpoint: bool,
}

/// Whether it is one. `sys` is where the kernel shows the machine: `/sys`.
pub(super) fn is_instance(signs: Signs, sys: &Utf8Path) -> bool {
    match signs {
        Signs { forced: Some(forced), .. } => forced,
        Signs { disabled: true, .. } => false,
        Signs { endpoint: true, .. } => true,
        Signs { .. } => is_machine_of_ec2(sys),
    }
}

fn is_machine_of_ec2(sys: &Utf8Path) -> bool {
    // A file that is not there, or not for this user, says nothing.
    let says = |file: &str| std::fs::read_to_string(sys.join(file)).unwrap_or_default();
    let vendor = says("class/dmi/id/sys_vendor");
    let tag = says("class/dmi/id/board_asset_tag");
    // Xen instances of the older types have no such DMI table.
    let uuid = says("hypervisor/uuid").to_ascii_lowercase();
    vendor.trim() == "Amazon EC2" || tag.starts_with("i-") || uuid.starts_with("ec2")
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Utf8PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let sys = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
        for (file, text) in files {
            let path = sys.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            crate::fsx::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
        }
        (directory, sys)
    }

    #[test]
    fn machines_are_told_apart() {
        for (file, text, expected) in [
            ("class/dmi/id/sys_vendor", "Amazon EC2\n", true),
            ("class/dmi/id/sys_vendor", "QEMU\n", false),
            ("class/dmi/id/board_asset_tag", "i-0a1b2c3d4e5f67890\n", true),
            ("class/dmi/id/board_asset_tag", "Default string\n", false),
            ("hypervisor/uuid", "EC2f58af-2ba5-a0f1-0b07-3f1c3ab2c1d2\n", true),
            ("hypervisor/uuid", "c0ffee00-0000-0000-0000-000000000000\n", false),
            ("elsewhere", "Amazon EC2\n", false),
        ] {
            let (_kept, sys) = machine(&[(file, text)]);
            assert_eq!(is_instance(Signs::default(), &sys), expected, "{file}: {text}");
        }
    }

    #[test]
    fn the_configuration_has_the_last_word_and_the_environment_the_one_before() {
        let (_kept, sys) = machine(&[("class/dmi/id/sys_vendor", "Amazon EC2\n")]);
        let elsewhere = Utf8Path::new("/nonexistent");
        let signs = |forced, disabled, endpoint| Signs { forced, disabled, endpoint };
        assert!(is_instance(signs(Some(true), true, false), elsewhere));
        assert!(!is_instance(signs(Some(false), false, true), &sys));
        assert!(!is_instance(signs(None, true, true), &sys));
        assert!(is_instance(signs(None, false, true), elsewhere));
        assert!(!is_instance(signs(None, false, false), elsewhere));
    }
}
