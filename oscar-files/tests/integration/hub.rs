//! The client of the hub against a server that speaks its protocol: nothing half-written is ever taken
//! for whole, and the token stays with the hub.

use crate::hub_server;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hub_server::{COMMIT, Hosted, Reply, Request, Server, hub as answer};
use oscar_files::hub::{
    Event, Hub, HubCache, HubError, HubReference, HubSettings, Listing, RemoteFile,
};
use rstest::rstest;
use tempfile::TempDir;

const REPOSITORY: &str = "someone/weights";

/// Git's hash of this text, as `git hash-object` prints it.
const SMALL: (&str, &str) = ("hello\n", "ce013625030ba8dba906f756967f9e9ca394464a");

fn weights() -> Vec<u8> {
    (0..300_000_u32)
        .flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect()
}

fn small() -> Hosted {
    Hosted {
        etag: SMALL.1.into(),
        ..Hosted::large("config.json", SMALL.0)
    }
}

fn large() -> Hosted {
    Hosted::large("model.safetensors", weights())
}

/// A hub, and a cache of its own.
struct Place {
    cache: TempDir,
    server: Server,
}

impl Place {
    fn new(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self {
            cache: tempfile::tempdir().unwrap(),
            server: Server::start(reply),
        }
    }

    /// A hub whose answers about its files `change` may replace.
    fn with(
        files: Vec<Hosted>,
        change: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |request| change(request, answer(REPOSITORY, &files, request)))
    }

    fn settings(&self) -> HubSettings {
        HubSettings {
            endpoint: self.server.address.clone(),
            token: Some("hf_secret".into()),
            offline: false,
            cache: HubCache::new(self.cache.path()),
        }
    }

    fn hub(&self) -> Hub {
        Hub::connect(self.settings())
            .unwrap()
            .with_patience(2, Duration::ZERO)
    }

    fn listing(&self) -> Listing {
        self.hub().list(&reference()).unwrap()
    }

    fn described(&self, name: &str) -> RemoteFile {
        self.hub().describe(&self.listing(), name).unwrap()
    }

    /// Downloads one file, and tells what happened.
    fn pull(&self, name: &str) -> (Result<PathBuf, HubError>, Vec<String>) {
        self.pull_checked(name, false)
    }

    fn pull_checked(&self, name: &str, verify: bool) -> (Result<PathBuf, HubError>, Vec<String>) {
        let (hub, listing) = (self.hub(), self.listing());
        let file = hub.describe(&listing, name).unwrap();
        let events = Mutex::new(Vec::new());
        let note = |event: Event<'_>| match event {
            Event::Received(_) => {}
            Event::Broken(_) => events.lock().unwrap().push("broken".into()),
            event => events.lock().unwrap().push(format!("{event:?}")),
        };
        let result = hub.download(&listing, &file, verify, &note);
        let result = result.and_then(|()| Ok(hub.finish(&listing)?.join(name)));
        (result, events.into_inner().unwrap())
    }

    fn folder(&self) -> PathBuf {
        self.cache.path().join("models--someone--weights")
    }

    fn blobs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder().join("blobs"))
            .into_iter()
            .flatten();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn partial(&self, file: &Hosted) -> PathBuf {
        self.folder()
            .join("blobs")
            .join(format!("{}.incomplete", file.etag))
    }

    fn leave_partial(&self, file: &Hosted, bytes: &[u8]) {
        fs::create_dir_all(self.folder().join("blobs")).unwrap();
        fs::write(self.partial(file), bytes).unwrap();
    }

    /// Nothing counts as downloaded.
    fn assert_nothing(&self) {
        let cache = HubCache::new(self.cache.path());
        assert!(cache.files(&reference()).is_empty());
        assert!(
            self.blobs()
                .iter()
                .all(|name| name.ends_with(".incomplete")),
            "{:?}",
            self.blobs()
        );
    }
}

fn reference() -> HubReference {
    "hub:someone/weights".parse().unwrap()
}

fn content(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn files_arrive_in_the_layout_of_python_and_the_token_stays_with_the_hub() {
    let elsewhere = Server::start(|request| Reply::content(&weights(), request));
    let moved = Hosted {
        elsewhere: Some(elsewhere.address.clone()),
        ..large()
    };
    let place = Place::with(vec![small(), moved], |_, reply| reply);
    let listing = place.listing();
    assert_eq!(listing.files, ["config.json", "model.safetensors"]);
    let file = place.described("model.safetensors");
    assert_eq!((file.size, file.is_cached), (1_200_000, false));
    assert!(elsewhere.requests().is_empty());
    for (name, bytes) in [
        ("config.json", SMALL.0.as_bytes().to_vec()),
        ("model.safetensors", weights()),
    ] {
        let (result, events) = place.pull(name);
        assert_eq!(content(&result.unwrap()), bytes);
        assert_eq!(events, ["Began(0)"]);
    }
    let folder = place.folder();
    assert_eq!(content(&folder.join("refs/main")), COMMIT.as_bytes());
    assert_eq!(
        content(&folder.join("blobs").join(SMALL.1)),
        SMALL.0.as_bytes()
    );
    #[cfg(unix)]
    {
        let link = fs::read_link(folder.join("snapshots").join(COMMIT).join("config.json"));
        assert_eq!(link.unwrap(), Path::new("../../blobs").join(SMALL.1));
    }
    assert_eq!(place.blobs().len(), 2);

    let sent = |server: &Server| {
        let requests = server.requests().into_iter();
        requests
            .map(|request| request.authorization)
            .collect::<Vec<_>>()
    };
    assert!(
        sent(&place.server)
            .iter()
            .all(|token| token.as_deref() == Some("Bearer hf_secret"))
    );
    let abroad = sent(&elsewhere);
    assert!(
        !abroad.is_empty() && abroad.iter().all(Option::is_none),
        "{abroad:?}"
    );

    // The second time nothing is downloaded.
    let before = place.server.contents().len();
    assert!(place.described("model.safetensors").is_cached);
    assert!(place.pull("model.safetensors").1.is_empty());
    assert_eq!(place.server.contents().len(), before);
}

#[test]
fn a_download_resumes_where_it_ended() {
    let place = Place::with(vec![large()], |_, reply| reply);
    place.leave_partial(&large(), &weights()[..500_000]);
    let (result, events) = place.pull("model.safetensors");
    assert_eq!(content(&result.unwrap()), weights());
    assert_eq!(events, ["Began(500000)"]);
    let asked: Vec<_> = place
        .server
        .contents()
        .iter()
        .map(|request| request.start)
        .collect();
    assert_eq!(asked, [Some(500_000)]);
    assert_eq!(place.blobs(), [large().etag]);
}

#[rstest]
#[case::a_host_without_ranges(200)]
#[case::a_refused_range(416)]
fn what_cannot_be_continued_starts_anew(#[case] status: u16) {
    let place = Place::with(vec![large()], move |request, reply| match request.start {
        Some(_) if status == 200 => Reply::new(200, weights()).with("ETag", large().etag),
        Some(_) => Reply::new(status, ""),
        None => reply,
    });
    place.leave_partial(&large(), &weights()[..1000]);
    let (result, events) = place.pull("model.safetensors");
    assert_eq!(content(&result.unwrap()), weights());
    assert!(events.contains(&"Restarted".into()), "{events:?}");
}

#[test]
fn a_broken_connection_is_made_again() {
    let times = AtomicUsize::new(0);
    let place = Place::with(vec![large()], move |request, reply| {
        let is_content = request.method == "GET" && request.path.contains("/resolve/");
        let broken = is_content && times.fetch_add(1, Ordering::SeqCst) < 3;
        Reply {
            cut: broken.then_some(200_000),
            ..reply
        }
    });
    let (result, events) = place.pull("model.safetensors");
    assert_eq!(content(&result.unwrap()), weights());
    assert_eq!(events, ["Began(0)", "broken", "broken", "broken"]);
    let asked: Vec<_> = place
        .server
        .contents()
        .iter()
        .map(|request| request.start)
        .collect();
    assert_eq!(asked, [None, Some(200_000), Some(400_000), Some(600_000)]);
}

#[test]
fn a_truncated_file_is_not_taken_for_whole_and_is_continued_later() {
    let place = Place::with(vec![large()], |request, reply| {
        // The second half never arrives.
        let cut = match request.start {
            None => Some(600_000),
            Some(_) => Some(0),
        };
        let is_content = request.method == "GET" && request.path.contains("/resolve/");
        Reply {
            cut: cut.filter(|_| is_content),
            ..reply
        }
    });
    let error = place.pull("model.safetensors").0.unwrap_err();
    assert!(
        matches!(
            &error,
            HubError::Truncated { file, received: 600_000, expected: 1_200_000, .. }
                if file == "model.safetensors"
        ),
        "{error}"
    );
    place.assert_nothing();
    assert_eq!(content(&place.partial(&large())), weights()[..600_000]);
}

#[test]
fn a_wrong_checksum_leaves_nothing() {
    let wrong = Hosted {
        etag: Hosted::large("", "other").etag,
        ..large()
    };
    let place = Place::with(vec![wrong], |_, reply| reply);
    let error = place.pull("model.safetensors").0.unwrap_err();
    assert!(
        matches!(&error, HubError::Checksum { found, .. } if *found == large().etag),
        "{error}"
    );
    place.assert_nothing();
    assert!(place.blobs().is_empty());
}

#[test]
fn a_beginning_that_is_not_of_the_file_is_noticed() {
    let place = Place::with(vec![large()], |_, reply| reply);
    place.leave_partial(&large(), &[7; 1000]);
    let error = place.pull("model.safetensors").0.unwrap_err();
    assert!(matches!(error, HubError::Checksum { .. }), "{error}");
    place.assert_nothing();
    // What was wrong is gone, so the next attempt succeeds; so it does after one that is too long.
    place.leave_partial(&large(), &[7; 2_000_000]);
    assert_eq!(
        content(&place.pull("model.safetensors").0.unwrap()),
        weights()
    );
}

#[test]
fn damage_to_the_cache_is_mended_when_it_is_looked_for() {
    let place = Place::with(vec![large()], |_, reply| reply);
    let path = place.pull("model.safetensors").0.unwrap();
    let blob = place.folder().join("blobs").join(large().etag);
    let mut damaged = weights();
    damaged[1000] ^= 1;
    fs::write(&blob, &damaged).unwrap();
    assert!(place.pull("model.safetensors").1.is_empty());
    assert_eq!(
        place.pull_checked("model.safetensors", true).1,
        ["Began(0)"]
    );
    assert_eq!(content(&path), weights());
    // A length that is wrong is noticed in any case.
    fs::write(&blob, "short").unwrap();
    assert!(!place.described("model.safetensors").is_cached);
    assert_eq!(place.pull("model.safetensors").1, ["Began(0)"]);
    assert_eq!(content(&path), weights());
}

#[rstest]
#[case::repository(404, "RepoNotFound", "repository")]
#[case::revision(404, "RevisionNotFound", "revision")]
fn what_is_not_there_is_named(#[case] status: u16, #[case] code: &'static str, #[case] what: &str) {
    let place = Place::new(move |_| Reply::new(status, "").with("X-Error-Code", code));
    let error = place.hub().list(&reference()).unwrap_err();
    assert!(
        matches!(&error, HubError::NotFound { what: found, .. } if *found == what),
        "{error}"
    );
}

#[rstest]
#[case(401)]
#[case(403)]
fn what_is_not_given_asks_for_a_token(#[case] status: u16) {
    let place = Place::new(move |_| Reply::new(status, "").with("X-Error-Code", "GatedRepo"));
    let error = place.hub().list(&reference()).unwrap_err();
    assert!(
        matches!(&error, HubError::Refused { status: found, with_token: true, .. } if *found == status),
        "{error}"
    );
    assert!(!format!("{error} {error:?} {:?}", place.settings()).contains("hf_secret"));
}

#[rstest]
#[case::no_json("<html>", "not a list")]
#[case::no_commit("{\"sha\": \"../..\", \"siblings\": []}", "not a commit")]
fn an_answer_of_another_form_is_refused(#[case] body: &'static str, #[case] part: &str) {
    let place = Place::new(move |_| Reply::new(200, body));
    let error = place.hub().list(&reference()).unwrap_err();
    assert!(
        matches!(&error, HubError::Answer { found, .. } if found.contains(part)),
        "{error}"
    );
}

#[test]
fn names_that_leave_the_folder_are_not_listed() {
    let hostile = ["../evil", "/etc/passwd", "a/../../b", "a\\\\b", "", "a//b"];
    let mut files = vec![large()];
    files.extend(hostile.map(|name| Hosted::large(name, "")));
    let place = Place::with(files, |_, reply| reply);
    assert_eq!(place.listing().files, ["model.safetensors"]);
}

#[rstest]
#[case::none("")]
#[case::a_path("../../../etc/passwd")]
#[case::another_kind("d41d8cd98f00b204e9800998ecf8427e")]
fn without_a_checksum_nothing_is_downloaded(#[case] etag: &'static str) {
    let file = Hosted {
        etag: etag.into(),
        ..large()
    };
    let place = Place::with(vec![file], |_, reply| reply);
    let described = place.hub().describe(&place.listing(), "model.safetensors");
    assert!(matches!(described, Err(HubError::Answer { .. })));
}

#[test]
fn redirections_end() {
    let place = Place::new(|request| Reply::redirect(format!("{}x", request.path)));
    let error = place.hub().list(&reference()).unwrap_err();
    assert!(matches!(error, HubError::Redirect { .. }), "{error}");
}

#[test]
fn a_renamed_repository_is_found_under_its_old_name() {
    let files = vec![large()];
    let place = Place::new(move |request| match request.path.contains(REPOSITORY) {
        true => Reply::new(307, "").with("Location", request.path.replace(REPOSITORY, "new/name")),
        false => answer("new/name", &files, request),
    });
    assert_eq!(
        content(&place.pull("model.safetensors").0.unwrap()),
        weights()
    );
    assert!(
        place
            .server
            .requests()
            .iter()
            .all(|request| request.authorization.is_some())
    );
}

#[test]
fn two_at_once_download_it_once() {
    let place = Place::with(vec![large()], |request, reply| {
        if request.method == "GET" && request.path.contains("/resolve/") {
            std::thread::sleep(Duration::from_millis(300));
        }
        reply
    });
    std::thread::scope(|scope| {
        let pull = || content(&place.pull("model.safetensors").0.unwrap());
        let both = [scope.spawn(pull), scope.spawn(pull)];
        for one in both {
            assert_eq!(one.join().unwrap(), weights());
        }
    });
    assert_eq!(place.server.contents().len(), 1);
}

#[test]
fn offline_the_cache_is_what_there_is() {
    let place = Place::with(vec![small(), large()], |_, reply| reply);
    place.pull("config.json").0.unwrap();
    let settings = HubSettings {
        offline: true,
        ..place.settings()
    };
    assert_eq!(settings.cache.files(&reference()), ["config.json"]);
    let of_commit: HubReference = format!("hub:{REPOSITORY}@{COMMIT}").parse().unwrap();
    assert_eq!(
        settings.cache.snapshot(&of_commit),
        settings.cache.snapshot(&reference())
    );
    let other: HubReference = format!("hub:{REPOSITORY}@v2").parse().unwrap();
    assert_eq!(settings.cache.snapshot(&other), None);
    assert!(matches!(Hub::connect(settings), Err(HubError::Offline)));
}

#[test]
fn a_hub_that_cannot_be_reached_is_named() {
    // A port that nobody listens at.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let place = Place::new(|_| Reply::new(500, ""));
    let settings = HubSettings {
        endpoint: format!("http://{free}"),
        ..place.settings()
    };
    let error = Hub::connect(settings)
        .unwrap()
        .list(&reference())
        .unwrap_err();
    assert!(matches!(&error, HubError::Unreachable { url, .. } if url.contains("someone/weights")));
    let error = place.hub().list(&reference()).unwrap_err();
    assert!(
        matches!(error, HubError::Status { status: 500, .. }),
        "{error}"
    );
}

#[rstest]
#[case("hub:someone/weights", Some(("someone/weights", "main")))]
#[case("hub:gpt2", Some(("gpt2", "main")))]
#[case("hub:a/b@refs/pr/1", Some(("a/b", "refs/pr/1")))]
#[case("hub:", None)]
#[case("hub:a/b/c", None)]
#[case("hub:../b", None)]
#[case("hub:a/..", None)]
#[case("hub:a/b@", None)]
#[case("hub:a/b@../x", None)]
#[case("hub:a/b?c", None)]
#[case("hub:a b/c", None)]
fn names_of_repositories(#[case] text: &str, #[case] expected: Option<(&str, &str)>) {
    let found = text.parse::<HubReference>();
    match expected {
        None => assert!(
            matches!(found, Err(HubError::Reference { .. })),
            "{found:?}"
        ),
        Some((repository, revision)) => {
            let found = found.unwrap();
            assert_eq!(
                (&*found.repository, &*found.revision),
                (repository, revision)
            );
            assert_eq!(found.to_string().parse::<HubReference>().unwrap(), found);
        }
    }
}

#[test]
fn settings_follow_the_variables_of_python() {
    let read = |variables: &[(&str, &str)]| {
        let variables: Vec<(String, String)> = variables
            .iter()
            .map(|(name, value)| ((*name).to_string(), (*value).to_string()))
            .collect();
        HubSettings::read(move |name| {
            let found = variables.iter().find(|(variable, _)| variable == name);
            found.map(|(_, value)| value.clone())
        })
    };
    let cache = |variables| read(variables).unwrap().cache.root().to_path_buf();
    assert_eq!(
        cache(&[("HOME", "/h")]),
        Path::new("/h/.cache/huggingface/hub")
    );
    assert_eq!(
        cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]),
        Path::new("/x/huggingface/hub")
    );
    assert_eq!(
        cache(&[("HOME", "/h"), ("HF_HOME", "/f")]),
        Path::new("/f/hub")
    );
    assert_eq!(
        cache(&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")]),
        Path::new("/c")
    );
    assert!(matches!(read(&[]), Err(HubError::NoCache)));

    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("token"), "hf_file\n").unwrap();
    let home = ("HF_HOME", home.path().to_str().unwrap());
    let token = |variables: &[_]| read(variables).unwrap().token;
    assert_eq!(token(&[home]).as_deref(), Some("hf_file"));
    assert_eq!(
        token(&[home, ("HF_TOKEN", "hf_set")]).as_deref(),
        Some("hf_set")
    );
    assert_eq!(token(&[home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
    assert_eq!(
        token(&[("HF_HOME", "/f"), ("HF_TOKEN", "a\r\nHost: b")]),
        None
    );

    assert!(read(&[home, ("HF_HUB_OFFLINE", "1")]).unwrap().offline);
    assert!(!read(&[home, ("HF_HUB_OFFLINE", "0")]).unwrap().offline);
    let endpoint = |value| read(&[home, ("HF_ENDPOINT", value)]).map(|settings| settings.endpoint);
    assert_eq!(
        endpoint("https://mirror.example/").unwrap(),
        "https://mirror.example"
    );
    assert!(matches!(
        endpoint("mirror.example"),
        Err(HubError::Endpoint { .. })
    ));
}
