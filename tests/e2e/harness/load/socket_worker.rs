//! The WebSocket worker: sends a text, wants it back, and notices how the connection ends.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::super::web_socket::{Opcode, close_frame, take_frame, text_frame, upgrade_request};
use super::connection::{Connection, Failure};
use super::{AFTER_FAILURE, Worker};

// People type and tick; they do not send as fast as it goes.
const BETWEEN_MESSAGES: Duration = Duration::from_millis(20);

/// How a connection without a message on its way ended.
enum End {
    Stopped,
    Closed,
    Cut,
}

impl Worker {
    pub(super) async fn run_socket(self) {
        while !*self.stopped.borrow() {
            match self.talk().await {
                Ok(End::Stopped) => return,
                Ok(End::Closed) => self.shared.report.lock().unwrap().websockets_closed += 1,
                Ok(End::Cut) => self.shared.report.lock().unwrap().websockets_cut += 1,
                Err(failure) => {
                    self.note_failure(&failure);
                    self.rest(AFTER_FAILURE).await;
                }
            }
        }
    }

    async fn talk(&self) -> Result<End, Failure> {
        let mut connection =
            timeout(self.within, self.upgrade()).await.unwrap_or(Err(Failure::TimedOut))?;
        let mut stopped = self.stopped.clone();
        let mut count = 0_u64;
        loop {
            count += 1;
            let message = format!("{}-{count}", self.number);
            let started = Instant::now();
            let echoed = self.echo(&mut connection, &message);
            let end = timeout(self.within, echoed).await.unwrap_or(Err(Failure::TimedOut))?;
            if let Some(end) = end {
                return Ok(end);
            }
            self.note_ok(started.elapsed());
            tokio::select! {
                () = sleep(BETWEEN_MESSAGES) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(End::Stopped),
                end = listen(&mut connection) => return end,
            }
        }
    }

    async fn upgrade(&self) -> Result<Connection, Failure> {
        let mut connection = self.connect().await?;
        let answer = connection.exchange(&upgrade_request("/ws")).await?;
        if answer.status != 101 {
            return Err(Failure::Status(answer.status));
        }
        self.note_origin(answer.release, answer.process);
        connection.received.clear();
        Ok(connection)
    }

    /// A close frame that crosses the message is an orderly end: by RFC 6455 the client knows that
    /// the message did not arrive, and sends it again on its next connection.
    async fn echo(
        &self,
        connection: &mut Connection,
        message: &str,
    ) -> Result<Option<End>, Failure> {
        let lost = |_| Failure::MessageLost;
        connection.stream.write_all(&text_frame(message)).await.map_err(lost)?;
        loop {
            match take_frame(&mut connection.received) {
                Some((Opcode::Text, payload)) if payload == message.as_bytes() => return Ok(None),
                Some((Opcode::Text, _)) => return Err(Failure::Body),
                Some((Opcode::Close, _)) => {
                    drop(connection.stream.write_all(&close_frame()).await);
                    return Ok(Some(End::Closed));
                }
                Some((Opcode::Other(_), _)) => {}
                None => {
                    if connection.stream.read_buf(&mut connection.received).await.map_err(lost)?
                        == 0
                    {
                        return Err(Failure::MessageLost);
                    }
                }
            }
        }
    }
}

/// Waits for the end of a connection on which nothing is asked.
async fn listen(connection: &mut Connection) -> Result<End, Failure> {
    loop {
        match take_frame(&mut connection.received) {
            Some((Opcode::Close, _)) => {
                // The answer is a courtesy: the server may be gone already.
                drop(connection.stream.write_all(&close_frame()).await);
                return Ok(End::Closed);
            }
            Some((Opcode::Text, _)) => return Err(Failure::Body),
            Some((Opcode::Other(_), _)) => {}
            None => match connection.stream.read_buf(&mut connection.received).await {
                Ok(0) | Err(_) => return Ok(End::Cut),
                Ok(_) => {}
            },
        }
    }
}
