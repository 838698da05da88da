//! The load against servers on loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::*;
use crate::observation::{self, Observation, Outcome, Time};

/// What a server does with a request: its answer, and from when on it may give it.
type Handler = Arc<dyn Fn(&Request<Incoming>) -> (Response<Full<Bytes>>, Option<Instant>) + Send + Sync>;

/// A server with a runtime of its own, which ends with it.
struct Server {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Server {
    fn start(handler: Handler) -> Self {
        Self::accepting(move |stream| serve(stream, handler.clone()))
    }

    /// Does something with every connection.
    fn accepting<F: Future<Output = ()> + Send + 'static>(
        each: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(each(stream));
            }
        });
        Self { address, _runtime: runtime }
    }
}

async fn serve(stream: TcpStream, handler: Handler) {
    stream.set_nodelay(true).unwrap();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (response, from) = handler(&request);
        async move {
            let _ = request.into_body().collect().await;
            if let Some(from) = from {
                tokio::time::sleep_until(from.into()).await;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn answer(status: u16) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(Bytes::from_static(b"hello"))).unwrap()
}

fn well() -> Handler {
    Arc::new(|request| (answer(if request.uri() == "/missing" { 404 } else { 200 }), None))
}

/// What was observed up to now.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Observation>>>);

impl Seen {
    fn sink(&self) -> Sink {
        let all = self.0.clone();
        Arc::new(move |observation| all.lock().unwrap().push(observation))
    }

    fn requests(&self) -> Vec<observation::Request> {
        let all = self.0.lock().unwrap();
        all.iter()
            .filter_map(|one| if let Observation::Request(one) = one { Some(one.clone()) } else { None })
            .collect()
    }

    fn wait(&self, what: &str, holds: impl Fn(&[observation::Request]) -> bool) {
        let begun = Instant::now();
        while !holds(&self.requests()) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{what} did not happen: {:?}",
                self.requests()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn mix(text: &str) -> Mix {
    Mix::parse("mix.yaml", text, Path::new("")).unwrap_or_else(|error| panic!("{error}"))
}

fn spec(address: SocketAddr, kind: ClientKind) -> LoadSpec {
    LoadSpec {
        mix: mix("requests: [{name: hello, path: '/hello/{{ n }}'}]"),
        host: HeaderValue::from_static("api.example"),
        rate: 200.0,
        clients: vec![kind],
        seed: 0xabc,
        timeout: Duration::from_secs(10),
        resolver: Arc::new(move |_| address),
        clock: Instant::now(),
    }
}

/// The latency that so many of all requests are faster than, in seconds.
fn quantile(mut latencies: Vec<f64>, part: f64) -> f64 {
    latencies.sort_by(f64::total_cmp);
    latencies[((latencies.len() as f64 * part).ceil() as usize).clamp(1, latencies.len()) - 1]
}

/// A server that answers nothing for a second, from `after` on.
fn freezing(after: Duration) -> (Server, Instant) {
    let frozen = Instant::now() + after;
    let handler: Handler = Arc::new(move |_| {
        let inside = (frozen..frozen + Duration::from_secs(1)).contains(&Instant::now());
        (answer(200), inside.then(|| frozen + Duration::from_secs(1)))
    });
    (Server::start(handler), frozen)
}

/// p95 and p99 of a client that waits for each answer before it sends the next request.
fn closed_loop(seconds: f64) -> [f64; 2] {
    use std::io::{Read as _, Write as _};
    let (server, _) = freezing(Duration::from_secs(1));
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    let (begun, mut latencies, mut buffer) = (Instant::now(), Vec::new(), [0; 4096]);
    while begun.elapsed().as_secs_f64() < seconds {
        let sent = Instant::now();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        assert!(stream.read(&mut buffer).unwrap() > 0);
        latencies.push(sent.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_millis(5));
    }
    [0.95, 0.99].map(|part| quantile(latencies.clone(), part))
}

#[test]
fn a_server_that_stands_still_is_seen_by_all_who_came_meanwhile() {
    let seconds = 4.0;
    let closed = closed_loop(seconds);
    let mut tried = Vec::new();
    for _ in 0..5 {
        let (server, frozen) = freezing(Duration::from_secs(1));
        let (seen, spec) = (Seen::default(), spec(server.address, ClientKind::Keepalive));
        let clock = spec.clock;
        let load = Load::start(spec, seen.sink()).unwrap();
        std::thread::sleep(Duration::from_secs_f64(seconds));
        let summary = load.stop();
        let requests = seen.requests();
        assert_eq!((summary.sent, summary.unsent), (requests.len() as u64, 0));
        assert!(requests.iter().all(observation::Request::is_well));
        // The truth: who comes while the server stands still waits for its end, all others wait for nothing.
        let end = Time::of(clock, frozen + Duration::from_secs(1));
        let inside = |at: Time| at >= Time::of(clock, frozen) && at < end;
        let waits = |at: Time| if inside(at) { end.since(at).as_secs_f64() } else { 0.0 };
        let truth = requests.iter().map(|one| waits(one.intended)).collect::<Vec<_>>();
        let measured =
            requests.iter().map(|one| one.done.since(one.intended).as_secs_f64()).collect::<Vec<_>>();
        let pairs =
            [0.95, 0.99].map(|part| (quantile(truth.clone(), part), quantile(measured.clone(), part)));
        let right = pairs.iter().all(|(truth, measured)| (truth - measured).abs() <= truth * 0.05);
        let blind = pairs.iter().zip(&closed).all(|((truth, _), closed)| truth / closed > 10.0);
        if right && blind {
            return;
        }
        // A machine that has no time for the load or the server is none to measure on.
        tried.push((pairs, closed, summary.lateness.value_at_quantile(0.99)));
    }
    panic!("(truth, measured) of p95 and p99, closed loop, lateness in microseconds: {tried:?}");
}

#[test]
fn a_seed_repeats_clients_requests_and_times() {
    let run = || {
        let server = Server::start(well());
        let seen = Seen::default();
        let mut spec = spec(server.address, ClientKind::Fresh);
        spec.clients = vec![ClientKind::Fresh, ClientKind::Sticky];
        spec.mix = mix("requests: [{name: a, path: /a, weight: 3}, {name: b, path: /b}]");
        let load = Load::start(spec, seen.sink()).unwrap();
        seen.wait("fifty requests", |all| all.len() >= 50);
        let _ = load.stop();
        let mut requests = seen.requests();
        requests.sort_by_key(|one| one.intended);
        let first = requests[0].intended;
        let told = |one: &observation::Request| {
            (
                one.id.clone(),
                one.name.clone(),
                one.client,
                one.number,
                one.intended.since(first).as_micros() / 10,
            )
        };
        requests.iter().take(50).map(told).collect::<Vec<_>>()
    };
    let (one, two) = (run(), run());
    assert_eq!(one.len(), 50);
    assert_eq!(one[7].0, "abc-7");
    for (one, two) in one.iter().zip(&two) {
        assert_eq!((&one.0, &one.1, one.2, one.3), (&two.0, &two.1, two.2, two.3));
        // Microseconds are cut off at two places.
        assert!(one.4.abs_diff(two.4) <= 1, "{one:?} {two:?}");
    }
}

#[test]
fn known_bad_requests_are_counted_each() {
    let server = Server::start(well());
    let (seen, mut spec) = (Seen::default(), spec(server.address, ClientKind::Keepalive));
    spec.mix =
        mix("requests: [{name: a, path: /a}]\ncontrol: {every: 10, request: {name: bad, path: /missing}}");
    let load = Load::start(spec, seen.sink()).unwrap();
    seen.wait("a hundred requests", |all| all.len() >= 100);
    let summary = load.stop();
    let last = seen.0.lock().unwrap().iter().rev().find_map(|one| match one {
        Observation::Control { sent, counted, .. } => Some((*sent, *counted)),
        _ => None,
    });
    assert_eq!(last, Some((summary.sent / 10, summary.sent / 10)));
    assert!(seen.requests().iter().all(|one| one.control != one.is_well()));
}

#[test]
fn what_is_due_is_sent_whether_or_not_others_were_answered() {
    for kind in [ClientKind::Fresh, ClientKind::Keepalive] {
        // Nobody is answered before fifty are there, which a load that waits for answers never brings about.
        let arrived = tokio::sync::watch::Sender::new(0);
        let counted = arrived.clone();
        let server = Server::accepting(move |mut stream| {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let (counted, mut all) = (counted.clone(), counted.subscribe());
            async move {
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    counted.send_modify(|count| *count += 1);
                    let _ = all.wait_for(|count| *count >= 50).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                }
            }
        });
        let (seen, mut spec) = (Seen::default(), spec(server.address, kind));
        spec.timeout = Duration::from_secs(60);
        let load = Load::start(spec, seen.sink()).unwrap();
        seen.wait("fifty answers", |all| all.len() >= 50);
        let _ = load.stop();
        assert!(seen.requests().iter().all(observation::Request::is_well), "{kind:?}");
    }
}

#[test]
fn every_kind_of_bad_end_has_its_name() {
    let outcome_of = |address, timeout| {
        let (seen, mut spec) = (Seen::default(), spec(address, ClientKind::Fresh));
        spec.timeout = timeout;
        let load = Load::start(spec, seen.sink()).unwrap();
        seen.wait("a request", |all| !all.is_empty());
        drop(load);
        seen.requests()[0].outcome.clone()
    };
    let long = Duration::from_secs(30);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(outcome_of(closed, long), Outcome::Refused);
    let hangs_up = Server::accepting(|stream| async move { drop(stream) });
    assert_eq!(outcome_of(hangs_up.address, long), Outcome::Reset);
    let half = Server::accepting(|mut stream| async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    });
    assert_eq!(outcome_of(half.address, long), Outcome::Reset);
    let silent = Server::accepting(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    assert_eq!(outcome_of(silent.address, Duration::from_millis(50)), Outcome::TimedOut);
}

/// Answers so many requests of each connection; the one after is read and not answered, if `reads` says so.
fn closing(
    answers: usize,
    reads: usize,
    ids: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicU64>,
) -> Server {
    Server::accepting(move |mut stream| {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        connections.fetch_add(1, Ordering::Relaxed);
        let ids = ids.clone();
        async move {
            let mut buffer = vec![0; 4096];
            for turn in 0..reads {
                let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let id =
                    text.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap().to_owned();
                ids.lock().unwrap().push(id);
                if turn < answers {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                }
            }
        }
    })
}

#[test]
fn a_connection_that_the_server_closed_while_idle_costs_nothing() {
    let mut tried = Vec::new();
    for _ in 0..5 {
        let (ids, connections) = (Arc::default(), Arc::<AtomicU64>::default());
        let server = closing(1, 1, Arc::clone(&ids), connections.clone());
        let (seen, mut spec) = (Seen::default(), spec(server.address, ClientKind::Keepalive));
        spec.rate = 50.0;
        let load = Load::start(spec, seen.sink()).unwrap();
        seen.wait("forty requests", |all| all.len() >= 40);
        let summary = load.stop();
        let bad = seen.requests().into_iter().filter(|one| !one.is_well()).collect::<Vec<_>>();
        if bad.is_empty() && connections.load(Ordering::Relaxed) == summary.sent {
            return;
        }
        // A server that is kept from closing until the next request has come is another case.
        tried.push(bad);
    }
    panic!("{tried:?}");
}

#[test]
fn a_request_that_the_server_read_and_did_not_answer_has_failed_and_is_not_sent_again() {
    let (ids, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::default());
    let server = closing(1, 2, ids.clone(), connections);
    let (seen, mut spec) = (Seen::default(), spec(server.address, ClientKind::Keepalive));
    spec.rate = 50.0;
    let load = Load::start(spec, seen.sink()).unwrap();
    seen.wait("ten failures", |all| all.iter().filter(|one| one.outcome == Outcome::Reset).count() >= 10);
    let summary = load.stop();
    let ids = ids.lock().unwrap().clone();
    assert_eq!(ids.len() as u64, summary.sent);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "a request came twice");
}

#[test]
fn a_keep_alive_client_keeps_its_connection_and_a_fresh_one_does_not() {
    for (kind, few) in [(ClientKind::Keepalive, true), (ClientKind::Fresh, false)] {
        let connections = Arc::<AtomicU64>::default();
        let (counter, handler) = (connections.clone(), well());
        let server = Server::accepting(move |stream| {
            counter.fetch_add(1, Ordering::Relaxed);
            serve(stream, handler.clone())
        });
        let seen = Seen::default();
        let load = Load::start(spec(server.address, kind), seen.sink()).unwrap();
        seen.wait("two hundred requests", |all| all.len() >= 200);
        let summary = load.stop();
        let connections = connections.load(Ordering::Relaxed);
        // Twenty clients; one more for each that was due while its client's connection was busy.
        assert!(
            if few { connections < summary.sent / 2 } else { connections == summary.sent },
            "{kind:?} {connections}"
        );
    }
}

#[test]
fn a_sticky_client_sends_back_its_cookie() {
    let given = Arc::new(AtomicU64::new(0));
    let bare = Arc::<Mutex<BTreeMap<String, u32>>>::default();
    let (counter, users) = (given.clone(), bare.clone());
    let server = Server::start(Arc::new(move |request| {
        let mut response = answer(200);
        match request.headers().get("cookie") {
            Some(cookie) => {
                *users.lock().unwrap().entry(cookie.to_str().unwrap().to_owned()).or_default() += 1
            }
            None => {
                let cookie = format!("sid={}; Path=/", counter.fetch_add(1, Ordering::Relaxed));
                response.headers_mut().insert("set-cookie", cookie.parse().unwrap());
            }
        }
        (response, None)
    }));
    let (seen, mut spec) = (Seen::default(), spec(server.address, ClientKind::Sticky));
    spec.rate = 40.0;
    let load = Load::start(spec, seen.sink()).unwrap();
    seen.wait("sixty requests", |all| all.len() >= 60);
    let summary = load.stop();
    let returned: u32 = bare.lock().unwrap().values().sum();
    let given = given.load(Ordering::Relaxed);
    assert_eq!(u64::from(returned) + given, summary.sent);
    assert!(given < summary.sent / 2, "{given} of {} came without a cookie", summary.sent);
}

#[test]
fn who_ignores_ttls_stays_where_the_name_led_first() {
    let (old, new) = (Server::start(well()), Server::start(Arc::new(|_| (answer(201), None))));
    let (switched, addresses) = (Arc::new(AtomicBool::new(false)), (old.address, new.address));
    let (seen, mut spec) = (Seen::default(), spec(old.address, ClientKind::Fresh));
    spec.clients = vec![ClientKind::Fresh, ClientKind::TtlIgnoring];
    let flag = switched.clone();
    spec.resolver = Arc::new(move |_| if flag.load(Ordering::Acquire) { addresses.1 } else { addresses.0 });
    let load = Load::start(spec, seen.sink()).unwrap();
    let to = |all: &[observation::Request], kind, status| {
        all.iter().filter(|one| one.client == kind && one.outcome == Outcome::Answered { status }).count()
    };
    seen.wait("old answers", |all| to(all, ClientKind::Fresh, 200) >= 10);
    switched.store(true, Ordering::Release);
    seen.wait("new answers", |all| to(all, ClientKind::Fresh, 201) >= 10);
    let before = to(&seen.requests(), ClientKind::TtlIgnoring, 200);
    seen.wait("more old answers", |all| to(all, ClientKind::TtlIgnoring, 200) >= before + 10);
    let _ = load.stop();
    assert_eq!(to(&seen.requests(), ClientKind::TtlIgnoring, 201), 0);
}

#[test]
fn a_load_stops_at_once_and_waits_for_what_is_on_its_way() {
    let (until, arrived) = (Instant::now() + Duration::from_millis(500), Arc::new(AtomicU64::new(0)));
    let counter = arrived.clone();
    let server = Server::start(Arc::new(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        (answer(200), Some(until))
    }));
    let (seen, mut spec) = (Seen::default(), spec(server.address, ClientKind::Fresh));
    let load = Load::start(spec.clone(), seen.sink()).unwrap();
    while arrived.load(Ordering::Relaxed) < 3 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let summary = load.stop();
    assert_eq!(summary.sent, arrived.load(Ordering::Relaxed));
    assert_eq!(summary.sent as usize, seen.requests().iter().filter(|one| one.is_well()).count());
    // The next request of this one is due in about a day.
    spec.rate = 1e-5;
    let begun = Instant::now();
    assert_eq!(Load::start(spec, seen.sink()).unwrap().stop().sent, 0);
    assert!(begun.elapsed() < Duration::from_secs(60));
}
