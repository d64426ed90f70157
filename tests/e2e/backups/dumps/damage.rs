//! Dumps that were damaged, or never whole: no proof lets one pass.

use groundcrew::backups::dump::restore::Target;
use groundcrew_core::backups::proof::Level;
use groundcrew_core::backups::settings::Encryption;

use super::{World, dumps, make, never, run, slot};

/// What is proved of the dump after its data was changed.
fn check_damage(encryption: Encryption, offsets: impl Fn(usize) -> Vec<usize>) {
    let world = World::postgres();
    let mut settings = world.settings();
    settings.encryption = encryption.clone();
    if encryption != Encryption::None {
        settings.encryption = Encryption::Age(vec![world.identity.to_public().to_string()]);
    }
    let dumps = dumps(settings);
    run(async {
        make(&dumps, slot()).await;
        let key = world.data_key();
        let whole = world.object(&key);
        let mut damaged: Vec<(String, Vec<u8>)> = Vec::new();
        for at in offsets(whole.len()) {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            damaged.push((format!("bit flipped at {at}"), flipped));
        }
        for length in [0, 1, whole.len() / 2, whole.len() - 10, whole.len() - 1] {
            damaged.push((format!("cut to {length}"), whole[..length].to_vec()));
        }
        damaged.push(("longer".to_owned(), [&whole[..], b"x"].concat()));
        damaged.push(("zeros".to_owned(), vec![0; whole.len()]));
        for (what, bytes) in damaged {
            world.put(&key, &bytes);
            let findings = dumps.prove(Level::L1, "20261121", &|_, _| {}, &never()).await.unwrap();
            assert!(!findings.is_empty(), "{what} passes");
        }
        world.put(&key, &whole);
        assert_eq!(dumps.prove(Level::L1, "20261121", &|_, _| {}, &never()).await, Ok(vec![]));
        world.emulator.s3("DELETE", &format!("/backups/{key}"), b"");
        let findings = dumps.prove(Level::L1, "20261121", &|_, _| {}, &never()).await.unwrap();
        assert_eq!(findings, ["its data is not there"]);
        assert_eq!(dumps.inspect("20261121").await.unwrap().backup, None);
    });
}

#[test]
fn damage_to_an_encrypted_dump_is_found() {
    check_damage(Encryption::Age(Vec::new()), |length| {
        vec![0, 30, 150, 250, 70_000, length / 2, length - 1]
    });
}

#[test]
fn damage_to_a_plain_dump_is_found() {
    check_damage(Encryption::None, |length| vec![0, 4, 100, length / 3, length / 2, length - 1]);
}

/// The trap of all traps: a bit of the data itself, which every reader and a real restore let pass.
#[test]
fn a_dump_that_was_swapped_for_another_is_found_and_not_restored() {
    let world = World::postgres();
    let mut settings = world.settings();
    settings.encryption = Encryption::None;
    let dumps = dumps(settings);
    world.server.sql("postgres", "alter role app createdb");
    run(async {
        make(&dumps, slot()).await;
        let key = world.data_key();
        let mut plain = zstd::decode_all(world.object(&key).as_slice()).unwrap();
        let at = plain.windows(5).rposition(|piece| piece == b"c1999").unwrap();
        plain[at] = b'd';
        world.put(&key, &zstd::encode_all(plain.as_slice(), 3).unwrap());
        let findings = dumps.prove(Level::L1, "20261121", &|_, _| {}, &never()).await.unwrap();
        assert!(!findings.is_empty());
        // Of the same length, too.
        let manifest = "acme/dumps/shop/20261121/manifest.json";
        let text = String::from_utf8(world.object(manifest)).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["stored"]["bytes"] = world.object(&key).len().into();
        world.put(manifest, json.to_string().as_bytes());
        let findings = dumps.prove(Level::L1, "20261121", &|_, _| {}, &never()).await.unwrap();
        assert!(findings.iter().any(|finding| finding.contains("hash differs")), "{findings:?}");
        let port = world.server.port;
        let url = format!("postgres://app@127.0.0.1:{port}/again?sslmode=disable");
        let target = Target::parse(&url).unwrap();
        let error = dumps.restore_to("20261121", &target, &|_, _| {}, &never()).await.unwrap_err();
        assert!(error.text.contains("hash differs"), "{error:?}");
    });
    let tables = world.server.sql("again", "select count(*) from pg_tables where tableowner='app'");
    assert_eq!(tables, "0", "all of it, or nothing");
}

#[test]
fn a_dump_is_opened_with_its_own_key_alone() {
    use age::secrecy::ExposeSecret;
    let world = World::postgres();
    let dumps = world.dumps();
    run(async {
        make(&dumps, slot()).await;
        let other = age::x25519::Identity::generate().to_string();
        std::fs::write(world.directory.join("identity"), other.expose_secret()).unwrap();
        let findings = dumps.prove(Level::L1, "20261121", &|_, _| {}, &never()).await.unwrap();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].starts_with("it cannot be opened"), "{findings:?}");
        let mut settings = world.settings();
        settings.proof.identity_file = None;
        let error = super::dumps(settings).prove(Level::L2, "20261121", &|_, _| {}, &never()).await;
        assert!(error.unwrap_err().text.contains("no identity_file"));
    });
    // Who has the identity needs nothing else of ours.
    let sealed = world.object(&world.data_key());
    let mut opened = Vec::new();
    let decryptor = age::Decryptor::new(sealed.as_slice()).unwrap();
    let mut reader =
        decryptor.decrypt(std::iter::once(&world.identity as &dyn age::Identity)).unwrap();
    std::io::Read::read_to_end(&mut reader, &mut opened).unwrap();
    let plain = zstd::decode_all(opened.as_slice()).unwrap();
    assert!(plain.starts_with(b"PGDMP"));
}

#[test]
fn a_manifest_that_is_none_is_an_error_and_nobodys_backup() {
    let world = World::postgres();
    let dumps = world.dumps();
    run(async {
        make(&dumps, slot()).await;
        let key = "acme/dumps/shop/20261121/manifest.json";
        let good = String::from_utf8(world.object(key)).unwrap();
        for bad in [
            String::new(),
            "{".into(),
            good.replace("\"version\":1,\"job\"", "\"version\":2,\"job\""),
            good.replace("\"job\":\"shop\"", "\"job\":\"other\""),
            good.replace("1-7.dump", "../../../x.dump"),
            good.replacen('{', "{\"extra\":1,", 1),
        ] {
            assert_ne!(bad, good);
            world.put(key, bad.as_bytes());
            assert!(dumps.look("20261121").await.is_err(), "{bad}");
            let listed = dumps.list().await.unwrap();
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0].marks, None, "{bad}");
        }
    });
}
