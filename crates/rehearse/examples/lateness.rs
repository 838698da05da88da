//! How exactly the load keeps its schedule: one line of JSON, for `scripts/bench`.
//!
//! The server is in this process and answers at once, so it takes from the load what a router on the same machine
//! would take. Times are in microseconds.

use std::convert::Infallible;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use envctl_model::cutover::plan::ClientKind;
use envctl_rehearse::load::{Load, LoadSpec, Mix, Summary};
use http::{HeaderValue, Response};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

const RATES: [u32; 2] = [1_000, 5_000];
const SECONDS: u64 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let service = hyper::service::service_fn(|_| async {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
                });
                let connection = hyper::server::conn::http1::Builder::new();
                // How a connection ends is the load's business.
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let mut lines = serde_json::Map::new();
    for rate in RATES {
        let spec = LoadSpec {
            mix: Mix::parse("mix.yaml", "requests: [{name: hello, path: /}]", Path::new(""))?,
            host: HeaderValue::from_static("lateness.example"),
            rate: f64::from(rate),
            clients: vec![ClientKind::Keepalive],
            seed: 4711,
            timeout: Duration::from_secs(10),
            resolver: Arc::new(move |_| address),
            clock: Instant::now(),
        };
        let load = Load::start(spec, Arc::new(|_| {}))?;
        std::thread::sleep(Duration::from_secs(SECONDS));
        let Summary { sent, unsent, lateness } = load.stop();
        let [p50, p99] = [0.5, 0.99].map(|part| lateness.value_at_quantile(part));
        let line = serde_json::json!({"sent": sent, "unsent": unsent, "p50": p50, "p99": p99});
        lines.insert(rate.to_string(), line);
    }
    #[allow(clippy::print_stdout, reason = "the benchmark reads it")]
    {
        println!("{}", serde_json::Value::Object(lines));
    }
    Ok(())
}
