//! A client of the endpoint, for its own tests and for the floor that the benchmark measures: one
//! connection, one request at a time, no resending.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::http::Request;
use super::signature;

const WITHIN: Duration = Duration::from_secs(30);

/// An open connection.
pub struct Client<S: Read + Write> {
    stream: BufReader<S>,
    host: String,
}

impl Client<TcpStream> {
    /// Connects in plain HTTP to an address such as `127.0.0.1:41234`.
    pub fn connect(address: &str) -> io::Result<Self> {
        Ok(Self::over(open(address)?, address))
    }
}

impl Client<StreamOwned<ClientConnection, TcpStream>> {
    /// Connects over TLS, to whoever has a certificate of the PEM file.
    pub fn connect_tls(address: &str, pem: &Path) -> io::Result<Self> {
        let socket: SocketAddr = address.parse().map_err(io::Error::other)?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(pem).map_err(io::Error::other)? {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = ClientConnection::new(Arc::new(config), socket.ip().into());
        let stream = StreamOwned::new(tls.map_err(io::Error::other)?, open(address)?);
        Ok(Self::over(stream, address))
    }
}

fn open(address: &str) -> io::Result<TcpStream> {
    let socket: SocketAddr = address.parse().map_err(io::Error::other)?;
    let stream = TcpStream::connect_timeout(&socket, WITHIN)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WITHIN))?;
    Ok(stream)
}

impl<S: Read + Write> Client<S> {
    fn over(stream: S, host: &str) -> Self {
        Self { stream: BufReader::new(stream), host: host.to_owned() }
    }

    /// One call, such as `PutLogEvents`; the status and the body of the answer.
    pub fn call(&mut self, operation: &str, body: &[u8], gzip: bool) -> io::Result<(u16, String)> {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut request = Request {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers: vec![
                header("host", &self.host),
                header("content-type", "application/x-amz-json-1.1"),
                header("x-amz-target", &format!("Logs_20140328.{operation}")),
            ],
            body: body.to_vec(),
        };
        if gzip {
            request.headers.push(header("content-encoding", "gzip"));
        }
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        signature::add(&mut request, &time);
        self.send(&request)
    }

    /// Sends a request as it is.
    pub(super) fn send(&mut self, request: &Request) -> io::Result<(u16, String)> {
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
        for (name, value) in &request.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.extend(["content-length: ", &request.body.len().to_string(), "\r\n\r\n"]);
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(&request.body)?;
        stream.flush()?;
        let (mut status, mut length, mut line) = (0, 0, String::new());
        while line != "\r\n" {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                let word = rest.split(' ').next().unwrap_or_default();
                status = word.parse().map_err(io::Error::other)?;
            }
            if let Some(rest) = line.strip_prefix("Content-Length: ") {
                length = rest.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}
