//! The example: a real application with a real database and a real queue.
//!
//! Its image takes minutes to build where nothing is cached.

use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{House, Ran, copy, envctl, have, http, http_bytes, root};

/// How long the worker may take for a thumbnail.
const PATIENCE: Duration = Duration::from_secs(60);

/// One at a time: two builds of the same image would each take twice as long. Tests begin in the order of their names:
/// those that wait for this are not called alike, or all that runs would stand still for one of them.
pub(crate) static ALONE: Mutex<()> = Mutex::new(());

/// The image's repository in the stack file.
const REPOSITORY: &str = "333333333333.dkr.ecr.ap-northeast-1.amazonaws.com/album";

/// A copy of what the example needs, with names of its own.
pub(crate) fn house() -> House {
    let house = House::new("alb");
    for part in ["examples", "docker"] {
        std::fs::create_dir(house.src().join(part)).unwrap();
        copy(&root().join(part), &house.src().join(part));
    }
    std::fs::copy(root().join("compose.yaml"), house.src().join("compose.yaml")).unwrap();
    // The images of the backing services keep their names: they are built once.
    house.edit("compose.yaml", |text| {
        text.replacen("name: envctl-backing", &format!("name: {}bk", house.project), 1)
    });
    house.edit("examples/album/envctl.yaml", |text| {
        text.replacen("project: album", &format!("project: {}", house.project), 1).replacen(
            &format!("repository: {REPOSITORY}"),
            &format!("repository: {}/app", house.project),
            1,
        )
    });
    house
}

impl House {
    pub(crate) fn album(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(envctl());
        Ran::of(command.current_dir(self.src().join("examples/album")).args(arguments))
    }
}

/// A PNG of one grey pixel, as small as a real picture can be.
const PIXEL: [u8; 67] = [
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0,
    1, 8, 0, 0, 0, 0, 0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0, 10, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0x68, 0,
    0, 0, 0x82, 0, 0x81, 0x77, 0xcd, 0x72, 0xb6, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

/// Where the application, its internal tool and its storage are reached on loopback, and what browsers call
/// them.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) port: u16,
    pub(crate) host: String,
    pub(crate) admin_port: u16,
    pub(crate) admin_host: String,
    pub(crate) storage_port: u16,
    pub(crate) storage_host: String,
}

impl Front {
    /// Behind the machine's router.
    fn local(house: &House) -> Self {
        let (name, port) = (house.environment(), house.port);
        Self {
            port,
            host: format!("web.{name}.localhost"),
            admin_port: port,
            admin_host: format!("admin.{name}.localhost"),
            storage_port: port,
            storage_host: format!("aws.{name}.localhost:{port}"),
        }
    }

    /// Uploads a photo, waits for its thumbnail, downloads it as a browser would: by the presigned URL.
    pub(crate) fn upload_to_thumbnail(&self) -> String {
        let Self { port, host, .. } = self;
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let content = [("Content-Type", "application/json")];
        let (status, album) = http(*port, host, "POST", "/albums", &content, br#"{"title": "Summer"}"#);
        assert_eq!(status, 201, "{album}");
        let album = json(&album)["id"].to_string();
        let png = [("Content-Type", "image/png")];
        let (status, photo) = http(*port, host, "POST", &format!("/albums/{album}/photos"), &png, &PIXEL);
        assert!(status == 201 || status == 202, "{status} {photo}");
        let photo = json(&photo)["id"].to_string();
        let begun = Instant::now();
        let location = loop {
            // `--include` would mix headers into the body: ask curl where it would go.
            let output = Command::new("curl")
                .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code} %{redirect_url}"])
                .args(["--header", &format!("Host: {host}")])
                .arg(format!("http://127.0.0.1:{port}/photos/{photo}/thumbnail"))
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if let Some((code, location)) = text.split_once(' ')
                && code.starts_with('3')
            {
                break location.to_owned();
            }
            assert!(begun.elapsed() < PATIENCE, "no thumbnail: {text}");
            // The application has no way to wait for it; its users' browsers ask again too.
            std::thread::sleep(Duration::from_millis(200));
        };
        let prefix = format!("http://{}", self.storage_host);
        let path = location.strip_prefix(&prefix).unwrap_or_else(|| panic!("{location} is not at {prefix}"));
        let (status, bytes) = http_bytes(self.storage_port, &self.storage_host, "GET", path, &[], &[]);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&bytes));
        assert!(bytes.starts_with(&[0xff, 0xd8]) || bytes.starts_with(&PIXEL[..8]), "a JPEG or a PNG");
        photo
    }

    /// Orders prints twice with one key, as a client does that heard no answer: they are one order, charged
    /// once.
    pub(crate) fn order_prints(&self, photo: &str) {
        let Self { port, host, .. } = self;
        let path = format!("/photos/{photo}/prints");
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "summer-1")];
        let order = |body: &str| http(*port, host, "POST", &path, &headers, body.as_bytes());
        let number = |(status, answer): (u16, String)| {
            assert_eq!(status, 202, "{answer}");
            serde_json::from_str::<Value>(&answer).unwrap()["id"].to_string()
        };
        let wish = r#"{"copies": 2, "address": "Kyoto"}"#;
        let first = number(order(wish));
        assert_eq!(number(order(wish)), first);
        let (status, answer) = order(r#"{"copies": 3, "address": "Kyoto"}"#);
        assert_eq!(status, 409, "{answer}");
        let begun = Instant::now();
        loop {
            let (_, answer) = http(*port, host, "GET", &format!("/prints/{first}"), &[], &[]);
            let order = serde_json::from_str::<Value>(&answer).unwrap_or_default();
            if order["state"] == "shipped" {
                assert_eq!((&order["charges"], &order["amount"]), (&1.into(), &1800.into()), "{answer}");
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "not shipped: {answer}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The internal tool's page, for whom a proxy says that it forwards.
    pub(crate) fn admin(&self, client: &str) -> (u16, String) {
        http(self.admin_port, &self.admin_host, "GET", "/", &[("X-Forwarded-For", client)], &[])
    }
}

pub(crate) fn upload_to_thumbnail(house: &House) -> String {
    Front::local(house).upload_to_thumbnail()
}

/// The line that the api writes for a request has what the request's answer has.
fn a_request_is_found_again_in_the_log(house: &House) {
    let front = Front::local(house);
    let output = Command::new("curl")
        .args(["--silent", "--include", "--header", &format!("Host: {}", front.host)])
        .args(["--header", "X-Request-Id: the-one-that-is-sought"])
        .arg(format!("http://127.0.0.1:{}/albums/404/photos", front.port))
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(answer.contains("x-request-id: the-one-that-is-sought"), "{answer}");
    let log = house.album(&["logs", "api"]).exits(0).stdout;
    let line =
        log.lines().find(|line| line.contains("the-one-that-is-sought")).unwrap_or_else(|| panic!("{log}"));
    let line: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    assert_eq!((&line["status"], &line["path"]), (&"404".into(), &"/albums/404/photos".into()));
    assert!(line["instance"].as_str().unwrap().starts_with("album-api-"), "{line}");
}

#[test]
fn the_album_goes_up_works_changes_and_leaves_nothing() {
    if !have(&["docker", "helm", "terraform", "curl"]) {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let house = house();
    let name = house.environment();
    let up = house.album(&["up"]).exits(0);
    assert!(up.stdout.contains("to add, applied"), "{}", up.stdout);
    let photo = upload_to_thumbnail(&house);
    // The same URL from inside a pod.
    house.album(&["exec", "api", "--", "album", "check-url", &photo]).exits(0).says("fetched");
    assert!(!up.stdout.contains("password"));
    Front::local(&house).order_prints(&photo);
    a_request_is_found_again_in_the_log(&house);
    // The page is for who is on this machine, not for whom a proxy brings from elsewhere.
    let (status, page) = Front::local(&house).admin("127.0.0.1");
    assert!(status == 200 && page.contains(&format!("<td>thumbnail-{photo}</td>")), "{status} {page}");
    assert_eq!(Front::local(&house).admin("203.0.113.9").0, 403);

    let urls = house.album(&["status", "--json"]).exits(0).json()["urls"].clone();
    assert!(urls.as_array().unwrap().contains(&format!("http://web.{name}.localhost:{}", house.port).into()));
    assert!(
        urls.as_array().unwrap().contains(&format!("http://admin.{name}.localhost:{}", house.port).into())
    );
    // What this target does not do is a finding: who may connect.
    let parity = house.album(&["parity", "--json"]).exits(0).json();
    let mut findings = parity["findings"].as_array().unwrap().iter();
    assert!(findings.any(|f| f["object"].as_str().unwrap().starts_with("NetworkPolicy/")), "{parity}");
    // Secrets are not shown unless asked for.
    let hidden = house.album(&["render"]).exits(0).stdout;
    let shown = house.album(&["render", "--show-secrets"]).exits(0).stdout;
    assert!(hidden.contains("(hidden)") && !shown.contains("(hidden)"));

    // Nothing changed, nothing is done.
    house.album(&["up"]).exits(0).says("unchanged sha256:").says("no changes");

    // A second environment has its own database, queue and bucket; the backing services are shared.
    let other = format!("{}-yui", house.project);
    house.album(&["up", "--name", &other]).exits(0);
    house.album(&["down", "--yes", "--name", &other]).exits(0).says("0 left").says(" kept (").says(&name);
    upload_to_thumbnail(&house);

    // A changed source line reaches the running environment with one more `up`.
    house.edit("examples/album/app/src/http.rs", |text| {
        text.replace(r#""alive\n""#, r#""alive and changed\n""#)
    });
    house.album(&["up"]).exits(0).says("built sha256:");
    let (_, health) = http(house.port, &format!("web.{name}.localhost"), "GET", "/healthz", &[], &[]);
    assert_eq!(health, "alive and changed\n");

    let down = house.album(&["down", "--yes"]).exits(0);
    assert!(down.stdout.contains("0 left") && !down.stdout.contains("unverified"), "{}", down.stdout);
    let receipt = house.album(&["receipt", "--json"]).exits(0).json();
    let resources = receipt["gone"].as_array().unwrap().iter().filter(|i| i["kind"] == "resource");
    // Two databases, four queues, a bucket, and the cache's keys.
    assert!(resources.count() >= 8, "{receipt}");
    assert_eq!(house.on_engine(), [""; 0]);
}
