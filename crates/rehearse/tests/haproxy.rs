//! A real HAProxy between clients and servers on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use envctl_model::cutover::Side;
use envctl_model::cutover::plan::ClientKind;
use envctl_rehearse::Observation;
use envctl_rehearse::haproxy::config::{self, BACKEND};
use envctl_rehearse::haproxy::{Config, Log, Router, RouterError, Runtime};
use envctl_rehearse::load::{Load, LoadSpec, Mix};
use envctl_rehearse::observation::{Outcome, Request, Routed};
use http::HeaderValue;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

#[path = "../../../tests/support/skip.rs"]
mod skip;

/// Answers with its name, in a header and after a while.
async fn server(name: &'static str, wait: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let service =
                hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
                    let slow = request.uri().path() == "/slow";
                    let _ = request.into_body().collect().await;
                    tokio::time::sleep(if slow { wait } else { Duration::ZERO }).await;
                    let response = http::Response::builder().header("x-name", name);
                    Ok::<_, Infallible>(response.body(Full::new(Bytes::from_static(b"hello"))).unwrap())
                });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// A port that is free now. HAProxy binds it right after.
fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A HAProxy of the test's own, with its log.
struct Sandbox {
    config: Config,
    router: Router,
    runtime: Runtime,
    file: PathBuf,
    child: Child,
    program: PathBuf,
    seen: Arc<Mutex<Vec<Routed>>>,
    log: Log,
    _directory: tempfile::TempDir,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Where HAProxy is; without one the test says why it is skipped.
fn haproxy() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = places.map(|place| place.join("haproxy")).find(|program| program.is_file());
    if found.is_none() {
        skip::skip("haproxy is not installed");
    }
    found
}

impl Sandbox {
    async fn start(program: PathBuf, old: &[SocketAddr], new: &[SocketAddr], percent: u8) -> Self {
        let seen = Arc::<Mutex<Vec<Routed>>>::default();
        let sink = seen.clone();
        let log = Log::bind(
            "127.0.0.1:0".parse().unwrap(),
            Instant::now(),
            Arc::new(move |one| {
                if let Observation::Routed(routed) = one {
                    sink.lock().unwrap().push(routed);
                }
            }),
        );
        let log = log.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("haproxy.cfg");
        // Somebody else may take a port that was free; HAProxy ends then, and gets others.
        for _ in 0..10 {
            let config = Config {
                bind: free(),
                runtime: free(),
                log: log.address(),
                old: old.to_vec(),
                new: new.to_vec(),
                slots: 3,
                percent,
                max_body: Some(10_000),
                idle_timeout: Duration::from_secs(60),
            };
            std::fs::write(&file, config.render().unwrap()).unwrap();
            let Some(child) = run(&program, &file, &config).await else { continue };
            let runtime = Runtime::new(config.runtime);
            let router = Router::new(runtime, &file, BACKEND);
            return Self { config, router, runtime, file, child, program, seen, log, _directory: directory };
        }
        panic!("HAProxy did not start with:\n{}", std::fs::read_to_string(&file).unwrap());
    }

    /// Kills it, and starts it again with its configuration as it is now.
    async fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = run(&self.program, &self.file, &self.config).await.expect("HAProxy starts again");
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.config.bind).unwrap()
    }

    /// How many of so many requests each server answers.
    async fn answers(&self, count: usize) -> BTreeMap<String, usize> {
        let mut stream = self.connect();
        tokio::task::spawn_blocking(move || {
            let mut all = BTreeMap::new();
            for _ in 0..count {
                *all.entry(get(&mut stream, "/").unwrap().1).or_default() += 1;
            }
            all
        })
        .await
        .unwrap()
    }

    async fn logged(&self, holds: impl Fn(&[Routed]) -> bool) -> Vec<Routed> {
        until("the log", || async { holds(&self.seen.lock().unwrap()) }).await;
        self.seen.lock().unwrap().clone()
    }
}

/// Starts it and waits until it takes commands and requests.
async fn run(program: &Path, file: &Path, config: &Config) -> Option<Child> {
    let mut child = Command::new(program)
        .args(["-db", "-f"])
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while TcpStream::connect(config.bind).is_err() || TcpStream::connect(config.runtime).is_err() {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Some(child)
}

async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} was not as expected in a minute");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Status and the answering server's name.
fn get(stream: &mut TcpStream, path: &str) -> std::io::Result<(u16, String)> {
    ask(stream, &format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-request-id: by-hand\r\n\r\n"))
}

fn ask(stream: &mut TcpStream, request: &str) -> std::io::Result<(u16, String)> {
    stream.write_all(request.as_bytes())?;
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !is_whole(&text) {
        let count = stream.read(&mut buffer)?;
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        if count == 0 {
            break;
        }
    }
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    let name = text.lines().find_map(|line| line.strip_prefix("x-name: ")).unwrap_or("").to_owned();
    status.map(|status| (status, name)).ok_or_else(|| std::io::Error::other(text))
}

/// Whether an answer has its whole body.
fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    head.lines().any(|line| {
        line.strip_prefix("content-length: ").is_some_and(|length| length == body.len().to_string())
    })
}

fn sums(answers: &BTreeMap<String, usize>) -> (usize, usize) {
    let of =
        |side| answers.iter().filter(|(name, _)| config::side_of(name) == Some(side)).map(|(_, n)| n).sum();
    (of(Side::Old), of(Side::New))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_side_gets_exactly_its_part() {
    let Some(program) = haproxy() else { return };
    let wait = Duration::ZERO;
    let old = [server("old1", wait).await, server("old2", wait).await];
    let new = [server("new1", wait).await, server("new2", wait).await];
    let sandbox = Sandbox::start(program, &old, &new, 0).await;
    for (percent, count) in [(0, 100), (5, 1000), (50, 200), (100, 100)] {
        sandbox.router.set_share(percent).await.unwrap();
        let share = sandbox.router.share().await.unwrap();
        assert_eq!((share.running, share.configured), (percent, percent));
        let of_new = usize::from(percent) * count / 100;
        let (first, second) = (sandbox.answers(count).await, sandbox.answers(count).await);
        // Each server's turn begins where the weights of before have left it: one request more or less.
        assert!(sums(&first).1.abs_diff(of_new) <= 2, "{first:?}");
        assert_eq!(sums(&second), (count - of_new, of_new), "{second:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_share_for_it_is_in_the_configuration() {
    let Some(program) = haproxy() else { return };
    let (old, new) = (server("old1", Duration::ZERO).await, server("new1", Duration::ZERO).await);
    let mut sandbox = Sandbox::start(program, &[old], &[new], 0).await;
    sandbox.router.set_share(30).await.unwrap();
    sandbox.restart().await;
    assert_eq!(sandbox.router.share().await.unwrap().running, 30);
    assert_eq!(sums(&sandbox.answers(100).await), (70, 30));
    // Who sets only the one is found out.
    sandbox.runtime.set_weight(BACKEND, "new1", 0).await.unwrap();
    let share = sandbox.router.share().await.unwrap();
    assert_eq!((share.running, share.configured), (0, 30));
    let error = sandbox.runtime.set_weight(BACKEND, "new9", 0).await.unwrap_err();
    assert_eq!(error.to_string(), "HAProxy refuses `set server sides/new9 weight 0`: No such server.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_side_finishes_what_it_has_and_gets_nothing_new() {
    let Some(program) = haproxy() else { return };
    let wait = Duration::from_secs(1);
    let (old, new) = (server("old1", wait).await, server("new1", wait).await);
    let sandbox = Sandbox::start(program, &[old], &[new], 0).await;
    let mut kept = sandbox.connect();
    assert_eq!(get(&mut kept, "/").unwrap(), (200, "old1".to_owned()));
    let slow = tokio::task::spawn_blocking(move || {
        let answer = get(&mut kept, "/slow").unwrap();
        (kept, answer)
    });
    until("a request on the old side", || async { sandbox.router.current(Side::Old).await.unwrap() == 1 })
        .await;
    sandbox.router.set_share(50).await.unwrap();
    sandbox.router.drain(Side::Old).await.unwrap();
    assert_eq!(sandbox.router.share().await.unwrap().running, 100);
    assert_eq!(sums(&sandbox.answers(20).await), (0, 20));
    let (mut kept, answer) = slow.await.unwrap();
    assert_eq!(answer, (200, "old1".to_owned()));
    // The client's connection goes on; what it asks now, the new side answers.
    assert_eq!(get(&mut kept, "/").unwrap(), (200, "new1".to_owned()));
    until("nothing on the old side", || async { sandbox.router.current(Side::Old).await.unwrap() == 0 })
        .await;
    sandbox.router.undrain(Side::Old).await.unwrap();
    assert_eq!(sums(&sandbox.answers(20).await), (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_come_and_go_and_the_share_stays() {
    let Some(program) = haproxy() else { return };
    let wait = Duration::ZERO;
    let old = server("old1", wait).await;
    let new = [server("new1", wait).await, server("new2", wait).await, server("new3", wait).await];
    let mut sandbox = Sandbox::start(program, &[old], &[], 0).await;
    let error = sandbox.router.set_share(50).await.unwrap_err();
    assert!(matches!(error, RouterError::NoServer(_)), "{error}");
    sandbox.router.set_addresses(Side::New, &new[..2]).await.unwrap();
    assert_eq!(sums(&sandbox.answers(10).await), (10, 0));
    sandbox.router.set_share(50).await.unwrap();
    // One pod goes and another comes; the one that stays keeps its server.
    sandbox.router.set_addresses(Side::New, &new[1..]).await.unwrap();
    sandbox.answers(40).await;
    let answers = sandbox.answers(40).await;
    let expected = [("old1", 20), ("new2", 10), ("new3", 10)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(answers, BTreeMap::from(expected));
    sandbox.restart().await;
    assert_eq!(sums(&sandbox.answers(40).await), (20, 20));
    let four = [new[0], new[1], new[2], old];
    let error = sandbox.router.set_addresses(Side::New, &four).await.unwrap_err().to_string();
    assert_eq!(error, "4 servers of the new side are more than the 3 that the configuration has room for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_is_a_failure_and_nobody_tries_another() {
    let Some(program) = haproxy() else { return };
    let old = server("old1", Duration::ZERO).await;
    let sandbox = Sandbox::start(program, &[old], &[free()], 50).await;
    let mut failed = 0;
    for _ in 0..20 {
        failed += usize::from(get(&mut sandbox.connect(), "/").unwrap().0 == 503);
    }
    assert_eq!(failed, 10);
    let logged = sandbox.logged(|all| all.len() >= 20).await;
    let dead: Vec<_> = logged.iter().filter(|one| one.side == Some(Side::New)).collect();
    assert_eq!(dead.len(), 10);
    assert!(dead.iter().all(|one| one.status == 503 && one.termination == "SC"), "{dead:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_the_limit_is_refused_by_the_router() {
    let Some(program) = haproxy() else { return };
    let old = server("old1", Duration::ZERO).await;
    let sandbox = Sandbox::start(program, &[old], &[], 0).await;
    for (size, expected) in [(10_000, 200), (10_001, 413)] {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n");
        let request = head + &"x".repeat(size);
        assert_eq!(ask(&mut sandbox.connect(), &request).unwrap().0, expected);
    }
    let logged = sandbox.logged(|all| all.iter().any(|one| one.status == 413)).await;
    let refused = logged.iter().find(|one| one.status == 413).unwrap();
    assert_eq!((refused.side, refused.termination.as_str()), (None, "PR"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_every_request_of_the_load() {
    let Some(program) = haproxy() else { return };
    let (old, new) = (server("old1", Duration::ZERO).await, server("new1", Duration::ZERO).await);
    let sandbox = Sandbox::start(program, &[old], &[new], 50).await;
    let sent = Arc::<Mutex<Vec<Request>>>::default();
    let sink = sent.clone();
    let bind = sandbox.config.bind;
    let spec = LoadSpec {
        mix: Mix::parse("mix.yaml", "requests: [{name: a, path: /}]", Path::new("")).unwrap(),
        host: HeaderValue::from_static("api.example"),
        rate: 200.0,
        clients: vec![ClientKind::Fresh, ClientKind::Keepalive, ClientKind::Sticky, ClientKind::TtlIgnoring],
        seed: 11,
        timeout: Duration::from_secs(10),
        resolver: Arc::new(move |_| bind),
        clock: Instant::now(),
    };
    let load = Load::start(
        spec,
        Arc::new(move |one| {
            if let Observation::Request(request) = one {
                sink.lock().unwrap().push(request);
            }
        }),
    );
    let load = load.unwrap();
    until("the load", || async { sent.lock().unwrap().len() >= 400 }).await;
    let summary = tokio::task::spawn_blocking(|| load.stop()).await.unwrap();
    let sent = sent.lock().unwrap().clone();
    assert_eq!((sent.len() as u64, summary.unsent), (summary.sent, 0));
    assert!(sent.iter().all(|one| one.outcome == Outcome::Answered { status: 200 }));
    let logged = sandbox.logged(|all| all.len() >= sent.len()).await;
    let ids: BTreeSet<_> = sent.iter().map(|one| &one.id).collect();
    assert_eq!(ids, logged.iter().map(|one| &one.id).collect());
    assert_eq!((logged.len(), sandbox.log.unreadable()), (sent.len(), 0));
    assert!(logged.iter().all(|one| one.side.is_some() && one.termination == "--"));
}
