//! A server under test, and a client that can also send what no client should.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::pictures::weights;
use crate::support::Workplace;

/// After this a test that waits for an answer fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server, which is killed when the test ends.
pub struct Serving {
    pub address: SocketAddr,
    pub child: Child,
}

/// An answer.
pub struct Reply {
    /// 0 if there was none before the connection was closed.
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Serving {
    /// Starts a server for the drawings in the folder `pictures` at a free port; with the shipped
    /// captioner unless `args` name weights.
    pub fn drawings(place: &Workplace, args: &[&str]) -> Self {
        let (captioner, mut args) = (weights("captioning"), args.to_vec());
        for default in [["--checkpoint", &*captioner], ["--images", "pictures"]] {
            if !args.contains(&default[0]) {
                args.extend(default);
            }
        }
        Self::start(place, &args)
    }

    /// Starts a server at a free port.
    pub fn start(place: &Workplace, args: &[&str]) -> Self {
        Self::start_with(place.program().args(args), "127.0.0.1:0")
    }

    /// Starts `program`, which has its other arguments, at `address`.
    pub fn start_with(program: &mut Command, address: &str) -> Self {
        let arguments: Vec<_> = program.get_args().map(std::ffi::OsString::from).collect();
        let mut command = Command::new(program.get_program());
        if let Some(directory) = program.get_current_dir() {
            command.current_dir(directory);
        }
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.args(["serve", "--listen", address]).args(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line
            .trim()
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_suffix('/'));
        let address = address.unwrap_or_else(|| panic!("no address but {line:?}"));
        let mut address: SocketAddr = address.parse().expect("an address");
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        Self { address, child }
    }

    /// A connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit");
        stream
    }

    /// Sends bytes and reads until the server closes the connection.
    pub fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect();
        // A server that has refused already may have closed its side.
        let _ = stream.write_all(bytes);
        Reply::read(stream)
    }

    /// The bytes of a request.
    pub fn request(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut head = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    pub fn send(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.raw(&self.request(line, headers, body))
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path}"), &[], b"")
    }

    /// Sends a JSON document.
    pub fn post(&self, path: &str, document: &Value) -> Reply {
        self.post_text(path, &document.to_string())
    }

    pub fn post_text(&self, path: &str, text: &str) -> Reply {
        let headers = [("Content-Type", "application/json")];
        self.send(&format!("POST {path}"), &headers, text.as_bytes())
    }

    /// Sends a form; what is called `picture` is a file.
    pub fn form(&self, path: &str, fields: &[(&str, &[u8])]) -> Reply {
        let mut body = Vec::new();
        for (name, value) in fields {
            let file = match *name {
                "picture" => "; filename=\"a.png\"",
                _ => "",
            };
            let head =
                format!("--cut\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(value);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--cut--\r\n");
        let headers = [("Content-Type", "multipart/form-data; boundary=cut")];
        self.send(&format!("POST {path}"), &headers, &body)
    }

    /// The value of a counter.
    pub fn counter(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        value.trim().parse().expect("a number")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reply {
    /// Reads until the connection is closed.
    pub fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A connection that is reset after the answer ends it, too.
        let end = stream.read_to_end(&mut bytes);
        if let Err(error) = end {
            let kind = error.kind();
            assert!(
                kind != std::io::ErrorKind::WouldBlock,
                "no answer within {PATIENCE:?}"
            );
        }
        let _ = stream.shutdown(Shutdown::Both);
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, body) = match end {
            Some(end) => (&bytes[..end], bytes[end + 4..].to_vec()),
            None => (bytes, Vec::new()),
        };
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.unwrap_or(0),
            headers: headers
                .map(|(name, value)| (name.to_lowercase(), value.into()))
                .collect(),
            body,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known == name)
            .map(|(_, value)| &**value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The document of a request that was answered.
    pub fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The kind of error of a request that was refused.
    pub fn kind(&self) -> String {
        let document: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let error = &document["error"];
        assert_eq!(error["status"], self.status, "{document:#}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{document:#}"
        );
        error["kind"].as_str().unwrap_or_default().into()
    }
}
