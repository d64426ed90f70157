//! Every document is sent, refused, dropped or waiting, whatever the service answers; and bounds
//! hold.

use proptest::prelude::*;

use super::*;

fn document(number: u64, bytes: usize) -> Document {
    Document { id: format!("{number:016x}"), text: "x".repeat(bytes) }
}

fn queue(count: u64) -> Queue {
    let mut queue = Queue::default();
    for number in 0..count {
        queue.push(Moment(0), document(number, 100));
    }
    queue
}

fn now(at: u64) -> Now {
    Now { at: Moment(at), wall: Wall(1) }
}

fn unprocessed(number: u64, code: &str) -> Unprocessed {
    Unprocessed { id: Some(format!("{number:016x}")), code: code.to_owned() }
}

#[test]
fn documents_wait_for_company_and_a_batch_goes_at_once() {
    let mut few = queue(3);
    assert_eq!(few.due(), Some(Moment(2000)));
    assert_eq!(few.take(Moment(1999), false), None);
    assert_eq!(few.take(Moment(1999), true).map(|batch| batch.len()), Some(3));
    assert_eq!(few.due(), None, "one request at a time");
    few.accepted(now(2100), &[]);
    let status = few.status(Moment(2100));
    assert_eq!((status.sent, status.backlog_bytes, status.oldest_ms), (3, 0, None));
    assert_eq!(status.last_ok, Some(Wall(1)));

    let mut many = queue(120);
    assert_eq!(many.take(Moment(0), false).map(|batch| batch.len()), Some(BATCH_DOCUMENTS_MAX));
    many.accepted(now(0), &[]);
    assert_eq!(many.take(Moment(0), false).map(|batch| batch.len()), Some(BATCH_DOCUMENTS_MAX));
    many.accepted(now(0), &[]);
    assert_eq!(many.take(Moment(0), false), None, "the rest waits for company");
    assert_eq!(many.status(Moment(100)).sent_per_second, 10);
    assert_eq!(many.status(Moment(10_000)).sent_per_second, 0);
}

#[test]
fn a_batch_is_bounded_in_bytes_too() {
    let mut queue = Queue::default();
    for number in 0..10 {
        queue.push(Moment(0), document(number, DOCUMENT_BYTES_MAX));
    }
    queue.push(Moment(0), document(10, DOCUMENT_BYTES_MAX + 1));
    assert_eq!(queue.status(Moment(0)).dropped, 1, "too long for X-Ray");
    let batch = queue.take(Moment(5000), false).unwrap();
    assert_eq!(batch.iter().map(String::len).sum::<usize>(), BATCH_BYTES_MAX);
}

#[test]
fn what_was_not_processed_is_refused_or_goes_again() {
    let mut queue = queue(4);
    queue.take(Moment(2000), false).unwrap();
    let answer = [unprocessed(1, "InvalidSegment"), unprocessed(2, "ThrottledException")];
    queue.accepted(now(2000), &answer);
    let status = queue.status(Moment(2000));
    assert_eq!((status.sent, status.rejected, status.dropped), (2, 1, 0));
    assert!(status.reason.unwrap().contains("ThrottledException"));
    for attempt in 1..ATTEMPTS_MAX {
        let due = queue.due().unwrap();
        assert!(due > Moment(2000), "not at once");
        assert_eq!(queue.take(due, false).map(|batch| batch.len()), Some(1), "{attempt}");
        queue.accepted(now(due.0), &[unprocessed(2, "ThrottledException")]);
    }
    assert!(queue.is_empty(), "not for ever");
    assert_eq!(queue.status(Moment(9000)).rejected, 2);
}

#[test]
fn one_bad_document_does_not_take_the_others_along() {
    let mut queue = queue(5);
    let mut at = 2000;
    while !queue.is_empty() {
        let batch = queue.take(Moment(at), true).unwrap();
        let bad = batch.len() > 1 || queue.flight[0].document.id == format!("{:016x}", 3);
        if bad {
            queue.failed(Moment(at), Failure::Refused, "InvalidRequestException".to_owned(), 0);
        } else {
            queue.accepted(now(at), &[]);
        }
        at += 1;
    }
    let status = queue.status(Moment(at));
    assert_eq!((status.sent, status.rejected, at), (4, 1, 2006));
}

#[test]
fn a_refusal_without_an_id_is_of_one_that_was_sent() {
    let mut queue = queue(5);
    queue.take(Moment(2000), true).unwrap();
    let nameless = Unprocessed { id: None, code: "ParseError".to_owned() };
    queue.accepted(now(2000), &[nameless, unprocessed(1, "InvalidSegment")]);
    let status = queue.status(Moment(2000));
    assert_eq!((status.sent, status.rejected), (3, 2));
}

#[test]
fn an_outage_keeps_the_newest_and_says_why() {
    let mut queue = queue(60);
    queue.take(Moment(0), false).unwrap();
    queue.failed(Moment(0), Failure::Network, "no answer in time".to_owned(), 7);
    let due = queue.due().unwrap();
    assert!(due > Moment(0));
    assert_eq!(queue.take(Moment(0), true), None, "also the last ones wait for the pause to end");
    assert_eq!(queue.status(Moment(1000)).reason.as_deref(), Some("no answer in time"));
    for number in 0..3000 {
        queue.push(Moment(1), document(100 + number, 100));
    }
    assert_eq!(queue.waiting.len(), WAITING_MAX);
    assert_eq!(queue.status(Moment(1)).dropped, 3060 - WAITING_MAX as u64);
    let late = Moment(ms(AGE_MAX) + 2);
    assert_eq!(queue.take(late, false), None);
    assert_eq!(queue.status(late).dropped, 3060, "nobody looks for traces of so long ago");
}

#[test]
fn a_flood_from_an_application_is_cut_off_each_second() {
    let mut queue = Queue::default();
    let admitted = (0..10_000).filter(|_| queue.admits_relayed(Moment(500))).count();
    assert_eq!(admitted, RELAYED_PER_SECOND_MAX as usize);
    assert_eq!(queue.status(Moment(500)).dropped, 10_000 - admitted as u64);
    assert!(queue.admits_relayed(Moment(1000)));
}

proptest! {
    #[test]
    fn nothing_is_lost_uncounted(
        steps in prop::collection::vec((0..6_u8, 0..5000_u64, 1..90_000_usize), 1..200),
    ) {
        let mut queue = Queue::default();
        let (mut at, mut pushed) = (0, 0);
        for (what, pause, size) in steps {
            at += pause;
            match what {
                0..=2 => {
                    queue.push(Moment(at), document(pushed, size));
                    pushed += 1;
                }
                _ => {
                    let Some(batch) = queue.take(Moment(at), what == 5) else { continue };
                    prop_assert!(!batch.is_empty() && batch.len() <= BATCH_DOCUMENTS_MAX);
                    prop_assert!(batch.iter().map(String::len).sum::<usize>() <= BATCH_BYTES_MAX);
                    let first = queue.flight[0].document.id.clone();
                    match size % 4 {
                        0 => queue.accepted(now(at), &[]),
                        1 => {
                            let code = "ServiceUnavailable".to_owned();
                            queue.accepted(now(at), &[Unprocessed { id: Some(first), code }]);
                        }
                        2 => queue.failed(Moment(at), Failure::Refused, String::new(), pause),
                        _ => queue.failed(Moment(at), Failure::Service, String::new(), pause),
                    }
                }
            }
            let status = queue.status(Moment(at));
            let waiting = queue.waiting.len() as u64;
            prop_assert_eq!(status.sent + status.dropped + status.rejected + waiting, pushed);
            let bytes: usize = queue.waiting.iter().map(|one| one.document.text.len()).sum();
            prop_assert_eq!(bytes, queue.waiting_bytes);
            prop_assert!(bytes <= WAITING_BYTES_MAX && queue.waiting.len() <= WAITING_MAX);
            prop_assert!(queue.alone <= queue.waiting.len());
        }
    }
}
