//! One connection: requests in, answers out, and the faults that concern a connection.

use std::io::{self, BufReader, Read, Write};

use super::http::{self, Request};
use super::service::{self, Reply, Scratch};
use super::state::Shared;

/// Serves until the client, a fault or the end of the endpoint closes it.
pub(super) fn serve<S: Read + Write>(stream: S, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(256 * 1024, stream);
    let mut scratch = Scratch::default();
    while let Some(request) = Request::read(&mut stream)? {
        if shared.hang() {
            return Ok(());
        }
        let call = service::Call::take(&request, shared, &mut scratch);
        let faults = shared.read(|state| state.faults.clone());
        shared.pause(faults.latency);
        let written = match call.reply() {
            Reply::None => Ok(false),
            Reply::Answer { status, body } => {
                let answer = (*status, body.as_str());
                http::write(stream.get_mut(), answer, faults.trickle, shared).map(|()| true)
            }
        };
        call.end(shared);
        if !written? {
            return Ok(());
        }
    }
    Ok(())
}
