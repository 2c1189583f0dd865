//! A server that speaks the hub's protocol, on this machine, for tests.

#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};

/// The commit of all repositories here.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    /// First byte that is asked for.
    pub start: Option<usize>,
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Closes the connection after so many bytes of the body.
    pub cut: Option<usize>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn redirect(target: impl Into<String>) -> Self {
        Self::new(302, "").with("Location", target)
    }

    /// The content, or the part of it that is asked for.
    pub fn content(bytes: &[u8], request: &Request) -> Self {
        match request.start {
            None => Self::new(200, bytes),
            Some(start) if start >= bytes.len() => Self::new(416, ""),
            Some(start) => {
                let (end, all) = (bytes.len() - 1, bytes.len());
                Self::new(206, &bytes[start..])
                    .with("Content-Range", format!("bytes {start}-{end}/{all}"))
            }
        }
    }
}

/// A server, which ends with the process.
pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                // A client that goes away is no error of the server.
                thread::spawn(move || drop(serve(stream, &*answer, &log)));
            }
        });
        Self { address, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("the log").clone()
    }

    /// Requests of contents, not of what is said about them.
    pub fn contents(&self) -> Vec<Request> {
        let all = self.requests().into_iter();
        all.filter(|request| request.method == "GET" && !request.path.starts_with("/api/"))
            .collect()
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &dyn Fn(&Request) -> Reply,
    log: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut words = first.split(' ').map(String::from);
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        ..Request::default()
    };
    for line in lines.by_ref() {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let value = value.trim();
        match &*name.to_ascii_lowercase() {
            "authorization" => request.authorization = Some(value.into()),
            "range" => {
                let start = value.trim_start_matches("bytes=").trim_end_matches('-');
                request.start = start.parse().ok();
            }
            _ => {}
        }
    }
    log.lock().expect("the log").push(request.clone());
    let reply = answer(&request);
    let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let length = reply.body.len();
    head.push_str(&format!("Content-Length: {length}\r\n\r\n"));
    stream.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        let sent = reply.cut.unwrap_or(length).min(length);
        stream.write_all(&reply.body[..sent])?;
    }
    stream.flush()?;
    stream.shutdown(std::net::Shutdown::Write)?;
    // Reads what is left, so that closing does not reset the connection.
    stream.take(1 << 16).read_to_end(&mut Vec::new()).map(drop)
}

/// A file of a repository.
#[derive(Clone, Debug)]
pub struct Hosted {
    pub name: String,
    pub bytes: Vec<u8>,
    /// The checksum that the hub gives.
    pub etag: String,
    /// Address of another host that has the content.
    pub elsewhere: Option<String>,
}

impl Hosted {
    /// A large file: its checksum is SHA-256.
    pub fn large(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let etag = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            name: name.into(),
            bytes,
            etag,
            elsewhere: None,
        }
    }
}

/// What the hub answers of `repository`.
pub fn hub(repository: &str, files: &[Hosted], request: &Request) -> Reply {
    let path = request.path.trim_start_matches('/');
    if path.starts_with(&format!("api/models/{repository}/revision/")) {
        let names = files
            .iter()
            .map(|file| format!("{{\"rfilename\": \"{}\"}}", file.name));
        let names = names.collect::<Vec<_>>().join(", ");
        return Reply::new(
            200,
            format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{names}]}}"),
        );
    }
    let file = path
        .strip_prefix(&format!("{repository}/resolve/{COMMIT}/"))
        .and_then(|name| files.iter().find(|file| file.name == name));
    let Some(file) = file else {
        return Reply::new(404, "").with("X-Error-Code", "EntryNotFound");
    };
    match &file.elsewhere {
        Some(target) => Reply::redirect(format!("{target}/{}?signature=secret", file.name))
            .with("X-Linked-Etag", format!("\"{}\"", file.etag))
            .with("X-Linked-Size", file.bytes.len().to_string()),
        None => Reply::content(&file.bytes, request).with("ETag", format!("\"{}\"", file.etag)),
    }
    .with("X-Repo-Commit", COMMIT)
}
