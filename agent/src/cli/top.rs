//! `groundcrew top`: the status page in a terminal. Shows what the agent says until the person has
//! seen enough, and leaves the terminal as it was, whatever happens. Decides nothing.

mod draw;
mod view;

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use groundcrew_core::status::{HistoryDocument, StatusDocument};
use groundcrew_core::time::{Moment, Wall, ms};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::EXIT_OK;
use super::terminal::Output;
use crate::clock;
use crate::control::client::{ClientError, ControlClient, LineStream};
use view::{Does, Shown, View};

/// How often ages go on, and an agent that is away is looked for.
const EVERY: Duration = Duration::from_secs(1);
/// How often the last hour is asked for: twice as often as there is a new row.
const HISTORY_EVERY: Duration = Duration::from_secs(5);

/// It cannot be shown here.
#[derive(Debug, thiserror::Error)]
enum TopError {
    #[error("top needs a terminal; `groundcrew status` prints to anything")]
    NoTerminal,
    #[error("could not {operation} the terminal")]
    Terminal {
        operation: &'static str,
        #[source]
        source: io::Error,
    },
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> TopError {
    move |source| TopError::Terminal { operation, source }
}

pub(super) async fn run(client: &ControlClient, out: &mut Output) -> anyhow::Result<u8> {
    if !out.is_terminal() || !io::stdin().is_terminal() {
        return Err(TopError::NoTerminal.into());
    }
    let colour = out.style().colour;
    // Asked before the screen is taken: who gets no answer reads why where it is expected.
    let mut feed = Feed::open(client).await?;
    let keys = keyboard().map_err(failed("wait for"))?;
    let mut signals = Signals::open().map_err(failed("wait for signals of"))?;
    let mut view = View::default();
    let mut screen = Screen::take()?;
    loop {
        feed.show(&mut view);
        screen.draw(&view, colour)?;
        tokio::select! {
            () = feed.next() => {}
            pressed = keys_pressed(&keys, &mut view) => {
                if pressed.map_err(failed("read from"))? == Does::Leave {
                    return Ok(EXIT_OK);
                }
            }
            leave = signals.next() => if leave {
                return Ok(EXIT_OK);
            },
        }
    }
}

/// Tells when keys were pressed; what they were is read elsewhere.
fn keyboard() -> io::Result<AsyncFd<OwnedFd>> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    // SAFETY: the AsyncFd owns this descriptor, which nobody else knows, and nothing takes it out.
    let keys = unsafe { AsyncFd::register_with_interest(stdin, Interest::READABLE) };
    keys.map_err(io::Error::from)
}

/// Lets the view have the keys that were pressed since the last time.
async fn keys_pressed(keys: &AsyncFd<OwnedFd>, view: &mut View) -> io::Result<Does> {
    keys.readable().await?.clear_ready();
    while event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && view.press(key.code, key.modifiers) == Does::Leave
        {
            return Ok(Does::Leave);
        }
    }
    Ok(Does::Stay)
}

/// The terminal, taken over. Given back when this is dropped, and by the panic hook that comes
/// with it.
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> Result<Self, TopError> {
        ratatui::try_init().map(Self).map_err(failed("take over"))
    }

    fn draw(&mut self, view: &View, colour: bool) -> Result<(), TopError> {
        let drawn = self.0.draw(|frame| draw::draw(frame, view, colour));
        drawn.map(drop).map_err(failed("draw on"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What may end it from outside; and the window's new size, which only needs a new picture.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    resize: Signal,
}

impl Signals {
    fn open() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            resize: signal(SignalKind::window_change())?,
        })
    }

    /// Whether it is time to leave.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => true,
            _ = self.hang_up.recv() => true,
            _ = self.resize.recv() => false,
        }
    }
}

/// What the agent says, as it says it.
struct Feed<'a> {
    client: &'a ControlClient,
    /// `None`: the agent is away.
    stream: Option<LineStream>,
    status: StatusDocument,
    history: HistoryDocument,
    /// When the status arrived.
    heard: Moment,
    /// When the last hour was asked for.
    asked: Moment,
}

impl<'a> Feed<'a> {
    async fn open(client: &'a ControlClient) -> Result<Self, ClientError> {
        let (stream, status) = subscribe(client).await?;
        let history = client.get("/v1/history").await?;
        let now = clock::at();
        Ok(Self { client, stream: Some(stream), status, history, heard: now, asked: now })
    }

    /// Waits for something new, a second at most. Cancel-safe but for an answer under way, which is
    /// asked for again.
    async fn next(&mut self) {
        let now = clock::at();
        let Some(stream) = &mut self.stream else {
            tokio::time::sleep(EVERY).await;
            if let Ok((stream, status)) = subscribe(self.client).await {
                (self.stream, self.status, self.heard) = (Some(stream), status, clock::at());
                self.asked = Moment::default();
            }
            return;
        };
        if now.since(self.asked) >= HISTORY_EVERY {
            match self.client.get("/v1/history").await {
                Ok(history) => (self.history, self.asked) = (history, now),
                // What is wrong with the agent shows itself in the stream as well.
                Err(_) => self.stream = None,
            }
            return;
        }
        tokio::select! {
            next = stream.next_of_endless() => match next {
                Ok(status) => (self.status, self.heard) = (status, clock::at()),
                Err(_) => self.stream = None,
            },
            () = tokio::time::sleep(EVERY) => {}
        }
    }

    fn show(&self, view: &mut View) {
        let age_ms = i64::try_from(ms(clock::at().since(self.heard))).unwrap_or(i64::MAX);
        let now = Wall(self.status.now.0.saturating_add(age_ms));
        let (status, history) = (self.status.clone(), self.history.clone());
        view.take(Shown { status, history, now, live: self.stream.is_some() });
    }
}

async fn subscribe(client: &ControlClient) -> Result<(LineStream, StatusDocument), ClientError> {
    let mut stream = client.stream("/v1/status?watch=1").await?;
    let status = stream.next_of_endless().await?;
    Ok((stream, status))
}
