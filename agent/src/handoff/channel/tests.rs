//! Lines, and who sends them.

use super::*;

async fn check(bytes: &[u8], expected: &[&str]) -> Option<io::ErrorKind> {
    let mut lines = Lines { reader: BufReader::with_capacity(7, bytes), line: Vec::new() };
    let mut read = Vec::new();
    let ended = loop {
        match lines.next().await {
            Ok(Some(line)) => read.push(String::from_utf8(line.to_vec()).unwrap()),
            Ok(None) => break None,
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!(read, expected);
    ended
}

/// An agent that comes back hears from its processes while it gets to know them.
#[test]
fn a_process_that_becomes_known_while_it_is_looked_for_is_no_child() {
    let id: ProcessId = "web.1.1".parse().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a process of nobody's tier")]
    let mut process = std::process::Command::new("sleep")
        .arg("60")
        .env("GROUNDCREW_PROCESS", id.to_string())
        .spawn()
        .unwrap();
    let pid = Pid::try_from(process.id()).unwrap();
    let uid = std::fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    let registry = Registry::default();
    assert!(registry.marked(pid, uid).is_none());
    registry.insert(id.clone(), 1, pid);
    assert!(!registry.marked(pid, uid).unwrap().child);
    assert!(!registry.who(pid, uid).unwrap().child);
    // Of another one with that marker it is a child, of another user's none of its.
    registry.insert(id, 2, Pid::try_from(std::process::id()).unwrap());
    assert!(registry.marked(pid, uid).unwrap().child);
    assert!(registry.marked(pid, uid + 1).is_none());
    process.kill().unwrap();
    process.wait().unwrap();
}

#[tokio::test]
async fn lines_are_split_at_newlines_only_and_bounded() {
    assert_eq!(check(b"", &[]).await, None);
    assert_eq!(check(b"a\n\nlonger than seven\nhalf", &["a", "", "longer than seven"]).await, None);
    let mut long = vec![b'x'; LINE_BYTES_MAX - 1];
    long.push(b'\n');
    let text = "x".repeat(LINE_BYTES_MAX - 1);
    assert_eq!(check(&long, &[&text]).await, None);
    long.insert(0, b'x');
    assert_eq!(check(&long, &[]).await, Some(io::ErrorKind::InvalidData));
}
