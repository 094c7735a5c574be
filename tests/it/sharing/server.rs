//! A small server that keeps objects as S3 does, and goes wrong when told to.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// The bucket that the server has.
pub(super) const BUCKET: &str = "bucket";

/// What goes wrong with each request whose path holds the word.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// This status, with this code in its text.
    Status(u16, &'static str),
    /// The connection ends before the answer.
    HangUp,
    /// The connection ends in the middle of the body.
    Truncate,
    /// No answer comes.
    Silence,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// Everything that was received, as it came.
    heard: Vec<u8>,
    fault: Option<(&'static str, Fault)>,
    puts: usize,
}

/// A server on a port of its own, until the test ends.
pub(super) struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // Whoever hangs up has had enough.
                std::thread::spawn(move || serve(&stream, &state).ok());
            }
        });
        Self { port, state }
    }

    /// Lets a command use the server, with these credentials.
    pub(super) fn environment(&self, command: &mut Command, id: &str, secret: &str) {
        command
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port))
            .env("AWS_ACCESS_KEY_ID", id)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("AWS_SESSION_TOKEN", format!("token-{secret}"))
            .env("no_proxy", "*");
    }

    /// Makes requests go wrong whose path holds `word`.
    pub(super) fn fail(&self, word: &'static str, fault: Fault) {
        self.state.lock().unwrap().fault = Some((word, fault));
    }

    /// Whether no answer will come, so that waiting for one is of no use.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.state.lock().unwrap().fault, Some((_, Fault::Silence)))
    }

    pub(super) fn recover(&self) {
        self.state.lock().unwrap().fault = None;
    }

    /// How many objects were written since the last time this was asked.
    pub(super) fn puts(&self) -> usize {
        std::mem::take(&mut self.state.lock().unwrap().puts)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().cloned().collect()
    }

    /// Everything that was received and kept.
    pub(super) fn heard(&self) -> Vec<u8> {
        let state = self.state.lock().unwrap();
        let kept = state.objects.values().flatten().copied();
        state.heard.iter().copied().chain(kept).collect()
    }

    /// Changes one byte of every object whose name holds `word`.
    pub(super) fn damage(&self, word: &str) {
        let mut state = self.state.lock().unwrap();
        for (name, bytes) in &mut state.objects {
            if name.contains(word) && !bytes.is_empty() {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
        }
    }
}

/// Answers the requests of one connection.
fn serve(stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let length = header(&text, "content-length").map_or(0, |value| value.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut words = text.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let fault = {
            let mut state = state.lock().unwrap();
            state.heard.extend(&head);
            state.fault.clone().filter(|(word, _)| path.contains(word)).map(|(_, fault)| fault)
        };
        let name = path.split('?').next().unwrap().trim_start_matches('/').to_owned();
        match fault {
            Some(Fault::HangUp) => return Ok(()),
            Some(Fault::Silence) => {
                std::thread::sleep(std::time::Duration::from_secs(20));
                return Ok(());
            }
            Some(Fault::Status(status, code)) => {
                answer(
                    stream,
                    status,
                    &format!("<Error><Code>{code}</Code></Error>").into_bytes(),
                )?;
                continue;
            }
            Some(Fault::Truncate) if method == "GET" => {
                let bytes = state.lock().unwrap().objects.get(&name).cloned().unwrap_or_default();
                write!(&mut &*stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", bytes.len())?;
                write!(&mut &*stream, "{DATES}\r\n")?;
                return (&mut &*stream).write_all(&bytes[..bytes.len() / 2]);
            }
            _ => {}
        }
        if !name.starts_with(&format!("{BUCKET}/")) {
            answer(stream, 404, b"<Error><Code>NoSuchBucket</Code></Error>")?;
            continue;
        }
        let kept = state.lock().unwrap().objects.get(&name).cloned();
        match (method, kept) {
            ("PUT", Some(_)) if header(&text, "if-none-match").is_some() => {
                answer(stream, 412, b"<Error><Code>PreconditionFailed</Code></Error>")?;
            }
            ("PUT", _) => {
                let mut state = state.lock().unwrap();
                state.puts += 1;
                state.objects.insert(name, body);
                drop(state);
                answer(stream, 200, b"")?;
            }
            ("GET", Some(bytes)) => answer(stream, 200, &bytes)?,
            ("HEAD", Some(bytes)) => {
                write!(
                    &mut &*stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{DATES}\r\n",
                    bytes.len()
                )?;
            }
            ("HEAD", None) => {
                write!(&mut &*stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?
            }
            _ => answer(stream, 404, b"<Error><Code>NoSuchKey</Code></Error>")?,
        }
    }
}

/// What every object has.
const DATES: &str = "ETag: \"1\"\r\nLast-Modified: Tue, 24 Nov 2026 10:00:00 GMT\r\n";

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn answer(mut stream: &TcpStream, status: u16, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n{DATES}\r\n")?;
    stream.write_all(body)
}
