//! What is said about the address of the status page.

use super::{bad_host, parse_host};
use crate::config::http::LISTEN;
use crate::config::{HttpConfig, PageAccess};

#[test]
fn the_page_is_for_this_host_unless_the_file_says_otherwise() {
    let check = |lines: &str, listen: Option<&str>, asked_for: bool, page: PageAccess| {
        let listen = listen.map(|address| address.parse().unwrap());
        let wanted = HttpConfig { listen, asked_for, page };
        assert_eq!(parse_host(lines).http, wanted, "{lines}");
    };
    let usual = Some("127.0.0.1:9180");
    check("", usual, false, PageAccess::Loopback);
    check("[http]\n", usual, false, PageAccess::Loopback);
    check("[http]\npage = \"none\"\n", usual, false, PageAccess::None);
    check("[http]\nlisten = \"127.0.0.1:9180\"\n", usual, true, PageAccess::Loopback);
    let open = "[http]\nlisten = \"[::]:80\"\npage = \"all\"\n";
    check(open, Some("[::]:80"), true, PageAccess::All);
    check("[http]\nlisten = \"none\"\npage = \"loopback\"\n", None, true, PageAccess::Loopback);
    assert!(LISTEN.ip().is_loopback());
}

#[test]
fn a_tier_has_the_port_that_nobody_asked_for() {
    let tier = "[tier.web]\nport = 9180\n";
    assert_eq!(parse_host(tier).http.listen, None);
    let said = bad_host(&format!("[http]\nlisten = \"0.0.0.0:9180\"\n{tier}"));
    insta::assert_snapshot!(said, @"groundcrew.toml:4: http.listen: port 9180 is that of tier web too");
}

#[test]
fn what_cannot_be_meant() {
    let said = bad_host("[http]\nlisten = 9180\npage = \"everyone\"\npages = true\n");
    insta::assert_snapshot!(said, @r#"
    groundcrew.toml:4: http.listen: found the number 9180, wanted an address and a port, such as "127.0.0.1:9180", or "none"
    groundcrew.toml:5: http.page: found the string "everyone", wanted "loopback", "all" or "none"
    groundcrew.toml:6: http.pages: unknown key; did you mean page?
    "#);
}
