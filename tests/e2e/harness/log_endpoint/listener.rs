//! Accepts connections, a thread each; dropping it resets them and joins the threads.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::connection;
use super::state::Shared;

/// Open connections by number.
type Open = Arc<Mutex<HashMap<u64, TcpStream>>>;

/// A bound port and what came in by it.
pub(super) struct Listener {
    address: SocketAddr,
    shared: Arc<Shared>,
    ending: Arc<AtomicBool>,
    open: Open,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    pub(super) fn bind(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        shared: Arc<Shared>,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("could not listen");
        shared.set_ending(false);
        let (ending, open) = (Arc::new(AtomicBool::new(false)), Open::default());
        let acceptor = Acceptor {
            tls,
            shared: Arc::clone(&shared),
            ending: Arc::clone(&ending),
            open: Arc::clone(&open),
        };
        let thread = std::thread::spawn(move || acceptor.run(&listener));
        Self { address, shared, ending, open, thread: Some(thread) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        self.shared.set_ending(true);
        // The thread is in `accept`: this is what wakes it.
        drop(TcpStream::connect(self.address));
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).values() {
            // It may have been closed by its client.
            drop(stream.shutdown(Shutdown::Both));
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Acceptor {
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    ending: Arc<AtomicBool>,
    open: Open,
}

impl Acceptor {
    fn run(self, listener: &TcpListener) {
        std::thread::scope(|scope| {
            for (number, stream) in (0..).zip(listener.incoming()) {
                if self.ending.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let acceptor = &self;
                scope.spawn(move || {
                    // A connection ends as its client likes: there is nobody to tell.
                    drop(acceptor.serve(number, stream));
                });
            }
        });
    }

    fn serve(&self, number: u64, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let known = stream.try_clone()?;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, known);
        if self.ending.load(Ordering::SeqCst) {
            // It came between the flag and the look at the open ones.
            stream.shutdown(Shutdown::Both)?;
        }
        self.shared.change(|state| state.counts.connections += 1);
        let served = match &self.tls {
            None => connection::serve(stream, &self.shared),
            Some(config) => match ServerConnection::new(Arc::clone(config)) {
                Ok(tls) => connection::serve(StreamOwned::new(tls, stream), &self.shared),
                Err(error) => Err(io::Error::other(error)),
            },
        };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        served
    }
}
