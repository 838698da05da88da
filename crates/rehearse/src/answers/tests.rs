//! Comparisons of servers on loopback.

use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::observation::Difference;

type Answer = Response<Full<Bytes>>;

/// Serves on loopback for as long as the test's runtime lives.
async fn side(answer: impl Fn(&Request<Incoming>) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, answer) = (listener.local_addr().unwrap(), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = hyper::service::service_fn(move |request| {
                let response = answer(&request);
                async move { Ok::<_, Infallible>(response) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

fn answer(kind: &str, body: impl Into<Bytes>) -> Answer {
    Response::builder().header("content-type", kind).body(Full::new(body.into())).unwrap()
}

fn json(body: &str) -> Answer {
    answer("application/json", body.to_owned())
}

fn mix(text: &str) -> Mix {
    Mix::parse("mix.yaml", text, Path::new("")).unwrap_or_else(|error| panic!("{error}"))
}

async fn compared(
    mix: &Mix,
    sample: u32,
    [old, new]: [SocketAddr; 2],
) -> Result<(Compared, Vec<(String, Vec<Difference>)>), AnswersError> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink: Sink = {
        let seen = seen.clone();
        Arc::new(move |observation| {
            let Observation::Compared { request, differences, .. } = observation else {
                panic!("{observation:?}")
            };
            seen.lock().unwrap().push((request, differences));
        })
    };
    let host = HeaderValue::from_static("album.example");
    let (clock, timeout) = (Instant::now(), Duration::from_secs(30));
    let spec = Comparing { mix, seed: 0xabc, sample, old, new, host, clock, timeout };
    let compared = compare(spec, &sink).await?;
    let seen = seen.lock().unwrap().clone();
    Ok((compared, seen))
}

/// The differences of one request, each as `place: old | new`.
async fn differences(
    old: impl Fn() -> Answer + Send + Sync + 'static,
    new: impl Fn() -> Answer + Send + Sync + 'static,
) -> Vec<String> {
    let sides = [side(move |_| old()).await, side(move |_| new()).await];
    let (_, seen) = compared(&mix("requests: [{name: a, path: /a}]"), 1, sides).await.unwrap();
    let [(_, differences)] = &seen[..] else { panic!("{seen:?}") };
    differences.iter().map(|one| format!("{}: {} | {}", one.place, one.old, one.new)).collect()
}

#[tokio::test]
async fn sides_that_answer_the_same_are_alike() {
    let ids = Arc::new(Mutex::new(BTreeMap::<String, Vec<&str>>::new()));
    let start = async |name: &'static str| {
        let ids = ids.clone();
        side(move |request| {
            assert_eq!(request.method(), "GET");
            assert_eq!(request.headers()["host"], "album.example");
            let id = request.headers()["x-request-id"].to_str().unwrap().to_owned();
            ids.lock().unwrap().entry(id).or_default().push(name);
            json(&format!(r#"{{"path": "{}"}}"#, request.uri()))
        })
        .await
    };
    let sides = [start("old").await, start("new").await];
    let mix = mix("
requests:
  - {name: list, weight: 3, path: /albums}
  - {name: photo, path: '/photos/{{ n }}'}
  - {name: upload, method: POST, weight: 50, path: /photos}
  - {name: never, weight: 0, path: /never}
");
    let (told, seen) = compared(&mix, 100, sides).await.unwrap();
    assert_eq!(told, Compared { requests: 100, ..Compared::default() });
    assert!(seen.iter().all(|(_, differences)| differences.is_empty()), "{seen:?}");
    let lists = seen.iter().filter(|(request, _)| request == "GET /albums").count();
    assert!((60..90).contains(&lists), "{lists} of 100");
    let ids = ids.lock().unwrap();
    assert_eq!(ids.len(), 100);
    // A log's reader looks for ids of the load by the seed and a hyphen.
    assert!(ids.keys().all(|id| id.starts_with(BESIDE_THE_LOAD) && !id.contains("abc-")), "{ids:?}");
    assert!(ids.values().all(|asked| *asked == ["old", "new", "old"]), "{ids:?}");
}

#[tokio::test]
async fn times_of_another_zone_differ_in_their_place() {
    let old = || json(r#"{"photos": [{"id": 1, "taken": "2026-03-01T09:00:00"}], "n": 1}"#);
    let new = || json(r#"{"n": 1, "photos": [{"id": 1, "taken": "2026-03-01T00:00:00"}]}"#);
    let found = differences(old, new).await;
    assert_eq!(found, ["body /photos/0/taken: 2026-03-01T09:00:00 | 2026-03-01T00:00:00"]);
}

#[tokio::test]
async fn another_order_is_told_by_two_that_changed_places() {
    let text = "x".repeat(300);
    let member = |id: u32| format!(r#"{{"text": "{text}{id}", "id": {id}, "tags": []}}"#);
    let list = |ids: [u32; 3]| format!(r#"{{"photos": [{}]}}"#, ids.map(member).join(","));
    let (old, new) = (list([1, 2, 3]), list([3, 1, 2]));
    let found = differences(move || json(&old), move || json(&new)).await;
    assert_eq!(found, [r#"body /photos: [{"id":2},{"id":3}] | [{"id":3},{"id":2}]"#]);
    let found = differences(|| json("[1, 2]"), || json("[2, 1]")).await;
    assert_eq!(found, ["body /: [1,2] | [2,1]"]);
}

#[tokio::test]
async fn what_is_missing_or_of_another_type_or_length_differs() {
    let old = || json(r#"{"a/b": 1, "id": "7", "tags": [1, 2]}"#);
    let new = || json(r#"{"id": 7, "more": null, "tags": [1]}"#);
    let found = differences(old, new).await;
    assert_eq!(
        found,
        [
            "body /a~1b: 1 | absent",
            r#"body /id: "7" | 7"#,
            "body /more: absent | null",
            "body /tags: 2 members | 1 members"
        ]
    );
}

#[tokio::test]
async fn a_lost_header_and_another_cookie_differ_and_what_is_of_the_connection_does_not() {
    let with = |headers: &[(&str, &str)]| {
        let mut answer = answer("text/plain", "hello");
        for (name, value) in headers {
            answer.headers_mut().append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        answer
    };
    let old = move || {
        with(&[
            ("cache-control", "no-store"),
            ("etag", "W/\"1\""),
            ("server", "nginx"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("set-cookie", "sid=hunter2; Path=/; HttpOnly; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
            ("set-cookie", "theme=dark"),
            ("x-auth-token", "hunter2"),
        ])
    };
    let new = move || {
        with(&[
            ("etag", "W/\"2\""),
            ("set-cookie", "sid=hunter3; HttpOnly; secure; expires=Wed, 21 Oct 2026 07:28:09 GMT; path=/"),
            ("set-cookie", "theme=light"),
            ("x-auth-token", "hunter3"),
        ])
    };
    let found = differences(old, new).await;
    assert_eq!(
        found,
        [
            "header cache-control: no-store | absent",
            "header set-cookie sid: a cookie with [expires; httponly; path=/] | a cookie with [expires; httponly; path=/; secure]",
            "header x-auth-token: a value that is not shown | another value that is not shown",
        ]
    );
}

#[tokio::test]
async fn a_strong_validator_is_compared_if_the_bodies_are_the_same_bytes() {
    let with = |tag: &'static str, body: &'static str| {
        move || {
            let mut answer = answer("text/plain", body);
            answer.headers_mut().insert("etag", HeaderValue::from_static(tag));
            answer
        }
    };
    let found = differences(with("\"1\"", "sea"), with("\"2\"", "sea")).await;
    assert_eq!(found, ["header etag: \"1\" | \"2\""]);
    // It only follows from the body, as the length does.
    for other in ["bay", "lake"] {
        let found = differences(with("\"1\"", "sea"), with("\"2\"", other)).await;
        assert_eq!(found, [format!("body line 1: sea | {other}")]);
    }
}

#[tokio::test]
async fn other_bytes_of_a_picture_differ_by_length_and_digest() {
    let found = differences(
        || answer("image/jpeg", &b"\xff\xd8\x00old"[..]),
        || answer("image/jpeg", &b"\xff\xd8\x00new!"[..]),
    )
    .await;
    let [only] = &found[..] else { panic!("{found:?}") };
    assert!(only.starts_with("body: 6 bytes, sha256:") && only.contains(" | 7 bytes, sha256:"), "{only}");
}

#[tokio::test]
async fn a_body_too_large_to_look_into_is_compared_to_its_last_byte() {
    let large = |last: u8| {
        let mut body = vec![b'a'; 5 << 20];
        body.push(last);
        body
    };
    assert_eq!(
        differences(move || answer("text/plain", large(0)), move || answer("text/plain", large(0))).await,
        [""; 0]
    );
    let found =
        differences(move || answer("text/plain", large(0)), move || answer("text/plain", large(1))).await;
    assert!(found.len() == 1 && found[0].starts_with("body: 5242881 bytes, sha256:"), "{found:?}");
}

#[tokio::test]
async fn the_first_line_of_text_that_differs_is_told() {
    let old = || answer("text/html", "<p>1</p>\n<p>1,234.50</p>\n<p>x</p>\n");
    let new = || answer("text/html", "<p>1</p>\n<p>1.234,50</p>\n<p>y</p>\n");
    assert_eq!(differences(old, new).await, ["body line 2: <p>1,234.50</p> | <p>1.234,50</p>"]);
    let shorter = || answer("text/html", "<p>1</p>\n<p>1,234.50</p>\n");
    assert_eq!(differences(old, shorter).await, ["body line 3: <p>x</p> | absent"]);
    assert_eq!(differences(shorter, old).await, ["body line 3: absent | <p>x</p>"]);
}

#[tokio::test]
async fn what_the_old_side_does_not_repeat_is_passed_over_and_counted() {
    let counter = Arc::new(AtomicU64::new(0));
    let volatile = async |ids: &'static str| {
        let counter = counter.clone();
        side(move |request| {
            let n = counter.fetch_add(1, Ordering::Relaxed);
            let mut answer = match request.uri().path() {
                "/page" => answer("text/html", format!("token {n}\n{ids}\n")),
                // How long it is changes too.
                "/list" => json(&format!("{:?}", vec![0; n as usize + 1])),
                _ => json(&format!(
                    r#"{{"now": {n}, "photos": [{}]}}"#,
                    ids.split(' ')
                        .map(|id| format!(r#"{{"id": {id}, "asked": {n}}}"#))
                        .collect::<Vec<_>>()
                        .join(",")
                )),
            };
            answer.headers_mut().insert("x-trace", n.into());
            answer
        })
        .await
    };
    let sides = [volatile("1 2").await, volatile("2 1").await];
    for (path, differing, passed_over) in [
        (
            "/photos",
            Some(("body /photos", r#"[{"id":1},{"id":2}]"#)),
            vec!["body /now", "body /photos/#/asked"],
        ),
        ("/page", Some(("body line 2", "1 2")), vec!["body line 1"]),
        ("/list", None, vec!["body /"]),
    ] {
        let (told, seen) =
            compared(&mix(&format!("requests: [{{name: a, path: {path}}}]")), 1, sides).await.unwrap();
        let first = seen[0].1.first().map(|one| (one.place.as_str(), one.old.as_str()));
        assert_eq!((first, seen[0].1.len()), (differing, usize::from(differing.is_some())), "{seen:?}");
        let mut expected: Vec<String> = passed_over.iter().map(|place| format!("a: {place}")).collect();
        expected.push("a: header x-trace".to_owned());
        assert_eq!(told.volatile.into_keys().collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn a_side_that_does_not_answer_differs_also_from_one_that_does_not_either() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let well = side(|_| answer("text/plain", "hello")).await;
    let mix = mix("requests: [{name: a, path: /a}]");
    let none = "no answer: no connection could be made";
    for (sides, expected) in
        [([well, closed], ("200", none)), ([closed, well], (none, "200")), ([closed, closed], (none, none))]
    {
        let (told, seen) = compared(&mix, 3, sides).await.unwrap();
        assert_eq!((told.requests, told.different), (3, 3));
        for (_, differences) in seen {
            let [only] = &differences[..] else { panic!("{differences:?}") };
            assert_eq!((&*only.place, &*only.old, &*only.new), ("status", expected.0, expected.1));
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_never_comes_is_none() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let half = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        }
    });
    // Connections are made, and nobody takes them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = |side: SocketAddr, timeout| {
        let request = Request::new(Full::new(Bytes::new()));
        async move { ask::ask(side, request, timeout).await.unwrap().unwrap_err() }
    };
    assert_eq!(asked(half, Duration::from_secs(30)).await, ask::NoAnswer::Ended);
    assert_eq!(asked(silent.local_addr().unwrap(), Duration::from_millis(50)).await, ask::NoAnswer::TimedOut);
}

#[tokio::test]
async fn another_status_is_told_alone_and_an_unexpected_one_is_counted() {
    let refused = side(|_| {
        let mut refused = json(r#"{"error": "no"}"#);
        *refused.status_mut() = http::StatusCode::FORBIDDEN;
        refused
    })
    .await;
    let well = side(|_| json("{}")).await;
    let mix = mix("requests: [{name: a, path: /a}]");
    let (told, seen) = compared(&mix, 1, [well, refused]).await.unwrap();
    let only = Difference { place: "status".into(), old: "200".into(), new: "403".into() };
    assert_eq!((seen[0].1.as_slice(), told.unexpected), (&[only][..], 0));
    let (told, _) = compared(&mix, 2, [refused, refused]).await.unwrap();
    assert_eq!((told.different, told.unexpected), (0, 2));
}

#[tokio::test]
async fn a_mix_that_only_changes_things_is_refused() {
    let mix = mix("requests: [{name: upload, method: POST, path: /a}, {name: never, weight: 0, path: /b}]");
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let error = compared(&mix, 1, [nobody, nobody]).await.unwrap_err();
    assert!(
        error.to_string().starts_with("the mix has no request that can be sent to both sides"),
        "{error}"
    );
}

#[test]
fn a_comparison_can_run_on_any_thread() {
    fn needs_send<T: Send>(_: T) {}
    let mix = mix("requests: [{name: a, path: /a}]");
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let host = HeaderValue::from_static("album.example");
    let (clock, timeout) = (Instant::now(), Duration::from_secs(1));
    let sink: Sink = Arc::new(|_| ());
    needs_send(compare(
        Comparing { mix: &mix, seed: 1, sample: 1, old: nobody, new: nobody, host, clock, timeout },
        &sink,
    ));
}
