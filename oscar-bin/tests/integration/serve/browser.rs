//! The page in a browser, which is driven over its remote debugging pipe.

#![cfg(unix)]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64_simd::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::Serving;
use super::{finetuned, place};
use crate::pictures::weights;
use crate::support::{HEADLESS, Workplace};

/// A browser with one page open.
pub struct Browser {
    child: Child,
    send: File,
    receive: BufReader<File>,
    session: Value,
    last: u64,
    /// What the page reported since it was opened: requests, messages of the console, exceptions.
    events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    pub fn open(url: &str) -> Self {
        let program = std::env::var("OSCAR_CHROMIUM").expect("OSCAR_CHROMIUM names a browser");
        let profile = tempfile::tempdir().expect("a temporary directory");
        let (commands, answers) = (
            profile.path().join("commands"),
            profile.path().join("answers"),
        );
        let made = Command::new("mkfifo").args([&commands, &answers]).status();
        assert!(made.expect("mkfifo").success());
        // The browser reads commands from descriptor 3 and writes answers to 4.
        let child = Command::new("sh")
            .arg("-c")
            .arg("exec \"$0\" \"$@\" 3<\"$COMMANDS\" 4>\"$ANSWERS\"")
            .arg(program)
            .args(HEADLESS)
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("COMMANDS", &commands)
            .env("ANSWERS", &answers)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser starts");
        let send = File::options().write(true).open(&commands).expect("a pipe");
        let receive = BufReader::new(File::open(&answers).expect("a pipe"));
        let mut browser = Self {
            child,
            send,
            receive,
            session: Value::Null,
            last: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let id = &target["targetId"];
        let attached = browser.call(
            "Target.attachToTarget",
            json!({"targetId": id, "flatten": true}),
        );
        browser.session = attached["sessionId"].clone();
        for domain in ["Page", "Runtime", "Network", "Log", "DOM"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call("Page.navigate", json!({"url": url}));
        browser
    }

    /// Calls a method of the protocol and waits for its result.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.send
            .write_all(format!("{message}\0").as_bytes())
            .expect("a command");
        loop {
            let mut answer = Vec::new();
            let read = self.receive.read_until(0, &mut answer).expect("an answer");
            assert!(read > 0, "the browser ended");
            answer.pop();
            let answer: Value = serde_json::from_slice(&answer).expect("JSON");
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer:#}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    /// The value of an expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let result = self.call("Runtime.evaluate", params);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result:#}"
        );
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn wait(&mut self, expression: &str) {
        let found = (0..1200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            self.value(&format!("Boolean({expression})")) == true
        });
        let status = self.value("document.body.innerText");
        assert!(found, "{expression} in\n{status}");
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "ArrowRight" => 39,
            _ => 32,
        };
        let text = match key {
            "Enter" => "\r",
            " " => " ",
            _ => "",
        };
        for kind in ["keyDown", "keyUp"] {
            let mut params = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                params["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", params);
        }
    }

    pub fn focus(&mut self, selector: &str) {
        self.value(&format!("document.querySelector({selector:?}).focus()"));
    }

    /// Types into an input and submits its form by the keyboard.
    pub fn submit(&mut self, selector: &str, text: &str) {
        self.focus(selector);
        self.value(&format!("document.querySelector({selector:?}).select()"));
        self.call("Input.insertText", json!({"text": text}));
        self.press("Enter");
    }

    /// Shows the page in this size and writes what it looks like, if anybody wants to see it.
    pub fn picture(&mut self, name: &str, (width, height): (u32, u32), dark: bool) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features);
        // Nothing is wider than the page.
        let wide = self.value("document.documentElement.scrollWidth - innerWidth");
        assert!(wide.as_i64().is_some_and(|wide| wide <= 0), "{name} {wide}");
        let Some(folder) = std::env::var_os("OSCAR_SCREENSHOTS") else {
            return;
        };
        let shot = self.call(
            "Page.captureScreenshot",
            json!({"captureBeyondViewport": true}),
        );
        let bytes = STANDARD.decode_to_vec(shot["data"].as_str().expect("a picture"));
        let file = Path::new(&folder).join(format!("{name}.png"));
        std::fs::write(file, bytes.expect("base64")).expect("a file");
    }

    /// Asserts that nothing was asked of another place, and that no script failed.
    pub fn assert_clean(&self, origin: &str) {
        for event in &self.events {
            let params = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Network.requestWillBeSent" => {
                    let url = params["request"]["url"].as_str().unwrap_or_default();
                    let own = [origin, "blob:", "data:"]
                        .iter()
                        .any(|start| url.starts_with(start));
                    assert!(own, "{url}");
                }
                "Runtime.exceptionThrown" => panic!("{params:#}"),
                "Log.entryAdded" if params["entry"]["source"] == "security" => panic!("{params:#}"),
                _ => {}
            }
        }
        let sent = |event: &&Value| event["method"] == "Network.requestWillBeSent";
        assert!(self.events.iter().filter(sent).count() > 5);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A store whose keys, tags and pictures have names that are markup.
fn with_markup(place: &Workplace, key: &str) {
    let name = "<img src=x onerror=alert(1)>";
    std::fs::create_dir(place.path("odd")).expect("a folder");
    let from = place.path("pictures").join(format!("{key}.png"));
    std::fs::copy(from, place.path("odd").join(format!("{name}.png"))).expect("a copy");
    let build = [
        "data",
        "build",
        "regions",
        "odd",
        "--detector",
        "drawing",
        "--out",
        "store",
    ];
    let built = place.run(&build);
    assert!(built.status.success(), "{built:?}");
    let file = place.path("store/tags.jsonl");
    let tags = std::fs::read_to_string(&file).expect("tags");
    // As long as before: the index has the places of the lines.
    let class = tags
        .split("\"class\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let class = class.expect("a class");
    let markup = format!("<b>{}</b>", "x".repeat(class.len().saturating_sub(7)));
    assert_eq!(markup.len(), class.len(), "{class}");
    std::fs::write(&file, tags.replacen(class, &markup, 1)).expect("tags");
}

/// A caption, and what its words attend to.
fn describe(page: &mut Browser) {
    page.focus("#caption select");
    page.value("document.querySelector('#caption select').value = '3'");
    page.focus("#caption button");
    page.press("Enter");
    page.wait("document.querySelectorAll('#results li').length === 3");
    page.wait("document.querySelectorAll('#words .plain').length > 3");
    page.focus("#words .plain");
    let shaded = "[...document.querySelectorAll('#marks .region[data-at]')]\
                  .filter((region) => Number(region.style.getPropertyValue('--at')) === 1).length === 1";
    page.wait(shaded);
    page.press("ArrowRight");
    page.wait("document.activeElement === document.querySelectorAll('#words .plain')[1]");
    page.wait(shaded);
    page.picture("caption", (1200, 900), false);
    page.picture("caption-dark", (1200, 900), true);
    page.picture("caption-phone", (390, 844), false);
    page.picture("caption-phone-dark", (320, 700), true);
}

/// A question with ranked answers, and a statement.
fn ask(page: &mut Browser) {
    page.value("document.querySelector('#ask select').value = '5'");
    page.submit("#question", "how many squares are there?");
    page.wait("document.querySelectorAll('#results li').length === 5");
    page.picture("question", (1200, 900), false);
    page.submit("#statement", "two black circles <script>alert(1)</script>");
    page.wait("document.querySelectorAll('#results li').length === 1");
    page.wait("document.querySelector('#results .text').textContent.includes('<script>')");
    assert_eq!(
        page.value("document.querySelectorAll('#results script').length"),
        0
    );
}

/// A key, one that there is not, and the numbers of the models.
fn take(page: &mut Browser, key: &str) {
    page.submit("#key", key);
    page.wait("document.querySelector('#gallery button').getAttribute('aria-pressed') === 'true'");
    page.submit("#key", "nobody <b>bold</b>");
    page.wait("document.querySelector('#status.wrong')?.textContent.includes('<b>bold</b>')");
    page.focus("#numbers summary");
    page.press("Enter");
    page.wait("document.querySelectorAll('#models tr').length === 4");
    page.picture("models", (1200, 900), true);
}

/// A file of this machine, and one that is no drawing.
fn open(page: &mut Browser, place: &Workplace, key: &str) {
    let root = page.call("DOM.getDocument", json!({}));
    let root = &root["root"]["nodeId"];
    let input = page.call(
        "DOM.querySelector",
        json!({"nodeId": root, "selector": "#file"}),
    );
    let file = place.path("pictures").join(format!("{key}.png"));
    let files = json!({"nodeId": input["nodeId"], "files": [file]});
    page.call("DOM.setFileInputFiles", files);
    page.wait("document.querySelector('#picture').src.startsWith('blob:')");
    page.wait("document.querySelectorAll('#marks .box').length > 0");
    let photograph =
        image::RgbImage::from_fn(60, 40, |x, y| image::Rgb([x as u8 * 4, y as u8 * 6, 90]));
    photograph.save(place.path("photo.png")).expect("a picture");
    let files = json!({"nodeId": input["nodeId"], "files": [place.path("photo.png")]});
    page.call("DOM.setFileInputFiles", files);
    page.wait("document.querySelector('#status.wrong')");
    page.picture("refused", (390, 844), false);
}

#[test]
#[ignore = "needs Chromium, named by OSCAR_CHROMIUM"]
fn every_control_of_the_page_works_in_a_browser() {
    let (place, keys) = place();
    for task in ["vqa", "matching"] {
        finetuned(&place, task);
    }
    let captioner = weights("captioning");
    let server = Serving::drawings(
        &place,
        &[
            "--checkpoint",
            "vqa",
            "--checkpoint",
            "matching",
            "--checkpoint",
            &captioner,
        ],
    );
    let origin = format!("http://{}/", server.address);
    let mut page = Browser::open(&origin);

    // The pictures of the server; one is taken by the keyboard.
    page.wait("document.querySelectorAll('#gallery img[src]').length === 6");
    page.wait(
        "[...document.querySelectorAll('#gallery img')].every((image) => image.naturalWidth)",
    );
    page.picture("start", (1200, 900), false);
    page.focus("#gallery button:nth-child(3)");
    page.press("Enter");
    page.wait("document.querySelectorAll('#marks .box').length > 0");
    let shown = |what: &str| {
        format!(
            "[...document.querySelectorAll('{what}')].every((e) => getComputedStyle(e).display !== 'none')"
        )
    };
    page.wait(&shown("#marks .box"));
    let tags = page.value("document.querySelectorAll('#tags span').length");
    assert!(tags.as_u64() > Some(0), "{tags}");

    // Boxes and tags are switched by the keyboard.
    for (control, what) in [
        ("#show-boxes", "#marks .box"),
        ("#show-tags", "#marks .label"),
    ] {
        page.focus(control);
        page.press(" ");
        page.wait(&format!("!({})", shown(what)));
        page.press(" ");
        page.wait(&shown(what));
    }

    describe(&mut page);
    ask(&mut page);
    take(&mut page, &keys[0]);
    open(&mut page, &place, &keys[1]);
    page.assert_clean(&origin);
}

#[test]
#[ignore = "needs Chromium, named by OSCAR_CHROMIUM"]
fn what_contains_markup_is_shown_as_text_and_a_token_is_asked_for() {
    let (place, keys) = place();
    with_markup(&place, &keys[0]);
    let mut program = place.program();
    program
        .args(["--regions", "store", "--checkpoint", &weights("captioning")])
        .env("OSCAR_TOKEN", "secret");
    let server = Serving::start_with(&mut program, "127.0.0.1:0");
    let origin = format!("http://{}/", server.address);
    let mut page = Browser::open(&origin);
    page.wait("document.querySelector('#access') && !document.querySelector('#access').hidden");
    page.submit("#token", "secret");
    page.wait("document.querySelectorAll('#gallery button').length === 1");
    page.focus("#gallery button");
    page.press("Enter");
    page.wait("document.querySelector('#tags')?.textContent.includes('<b>')");
    page.wait("document.querySelector('#gallery span').textContent.includes('<img')");
    page.focus("#caption button");
    page.press("Enter");
    page.wait("document.querySelectorAll('#words .plain').length > 3");
    assert_eq!(
        page.value("document.querySelectorAll('#tags b, #marks b, img[onerror]').length"),
        0
    );
    page.picture("markup", (900, 800), false);
    page.assert_clean(&origin);
}
