//! Counters that Prometheus keeps, by its HTTP API: <https://prometheus.io/docs/prometheus/latest/querying/api/>.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use envctl_model::cutover::Side;
use envctl_rehearse::director::Trouble;
use serde::Deserialize;

use super::operator::{BothCounters, Counters};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Where queries are answered.
#[derive(Debug, Clone)]
pub(super) struct Prometheus {
    client: reqwest::Client,
    url: String,
    requests: String,
    failed: String,
    p99: Option<String>,
    /// What counters had at last, by query: a target that is not reached has none for a while.
    last: Arc<Mutex<HashMap<String, u64>>>,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "camelCase")]
enum Data {
    Vector(Vec<Sample>),
    Scalar(Value),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Sample {
    value: Value,
}

/// A moment and a number, which stands as text.
#[derive(Deserialize)]
struct Value(serde::de::IgnoredAny, String);

impl Prometheus {
    /// The Prometheus at `url`, with the plan's queries.
    pub(super) fn new(url: &str, requests: &str, failed: &str, p99: Option<&str>) -> Result<Self, Trouble> {
        let client = reqwest::Client::builder().timeout(WITHIN).build();
        Ok(Self {
            client: client.map_err(|e| Trouble(format!("no client for Prometheus: {e}")))?,
            url: url.to_owned(),
            requests: requests.to_owned(),
            failed: failed.to_owned(),
            p99: p99.map(str::to_owned),
            last: Arc::default(),
        })
    }

    /// That there are counters of the old side, which has been at work: a query that matches nothing would be one by
    /// which nothing ever fails.
    pub(super) async fn has_counters(&self) -> Result<(), Trouble> {
        for query in [&self.requests, &self.failed] {
            if self.ask(query, Side::Old).await?.is_none() {
                let query = query.replace("$side", Side::Old.as_str());
                return Err(Trouble(format!(
                    "Prometheus at {}, asked `{query}`, has no series\n  correct the query; or if nothing has been \
                     counted so far, write `({query}) or vector(0)` with `$side` in it",
                    self.url
                )));
            }
        }
        Ok(())
    }

    /// Reads the counters of both sides.
    pub(super) async fn counters(&self) -> Result<BothCounters, Trouble> {
        let (old, new) = tokio::try_join!(self.of(Side::Old), self.of(Side::New))?;
        Ok(BothCounters { old, new })
    }

    async fn of(&self, side: Side) -> Result<Counters, Trouble> {
        let p99 = async {
            match &self.p99 {
                Some(query) => self.ask(query, side).await,
                None => Ok(None),
            }
        };
        let counts = (self.count(&self.requests, side), self.count(&self.failed, side));
        let (requests, failed, p99) = tokio::try_join!(counts.0, counts.1, p99)?;
        // Without requests a quantile is not a number.
        let p99 = p99.filter(|seconds| seconds.is_finite());
        Ok(Counters { requests, failed, p99 })
    }

    /// A counter. One that nobody has raised yet is not there.
    async fn count(&self, query: &str, side: Side) -> Result<u64, Trouble> {
        let number = self.ask(query, side).await?;
        let key = query.replace("$side", side.as_str());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match number {
            None => Ok(last.get(&key).copied().unwrap_or(0)),
            Some(number) if !number.is_finite() => {
                Err(Trouble(format!("Prometheus at {}, asked `{key}`: `{number}` counts nothing", self.url)))
            }
            Some(number) => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
                let number = number.round() as u64;
                last.insert(key, number);
                Ok(number)
            }
        }
    }

    async fn ask(&self, query: &str, side: Side) -> Result<Option<f64>, Trouble> {
        let query = query.replace("$side", side.as_str());
        let wrong = |what: String| Trouble(format!("Prometheus at {}, asked `{query}`: {what}", self.url));
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", &query)]);
        let url = url.map_err(|e| wrong(e.to_string()))?;
        let answer = self.client.get(url).send().await.map_err(|e| wrong(with_causes(&e)))?;
        let (status, bytes) = (answer.status(), answer.bytes().await.map_err(|e| wrong(with_causes(&e)))?);
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|_| wrong(format!("it answers {status}, and not as Prometheus does")))?;
        match (answer.error, answer.data) {
            (Some(error), _) => Err(wrong(error)),
            (None, Some(Data::Scalar(Value(_, number)))) => {
                number.parse().map(Some).map_err(|_| wrong(format!("`{number}` is no number")))
            }
            (None, Some(Data::Vector(samples))) => match &samples[..] {
                [] => Ok(None),
                [Sample { value: Value(_, number) }] => {
                    number.parse().map(Some).map_err(|_| wrong(format!("`{number}` is no number")))
                }
                more => Err(wrong(format!("{} series, and one is wanted: add `sum(...)`", more.len()))),
            },
            (None, _) => Err(wrong("it answers no single number".to_owned())),
        }
    }
}

/// An error of the client says itself that it could not; its causes say why.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(of) = cause {
        text.push_str(&format!(": {of}"));
        cause = of.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Answers every request with the next of these results.
    fn prometheus<const N: usize>(results: [&'static str; N]) -> Prometheus {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for result in results {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let body = format!(
                    r#"{{"status": "success", "data": {{"resultType": "vector", "result": [{result}]}}}}"#
                );
                let head =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        Prometheus::new(&url, "all{side=\"$side\"}", "bad{side=\"$side\"}", None).unwrap()
    }

    #[tokio::test]
    async fn a_counter_that_is_gone_for_a_while_keeps_its_value_and_what_is_no_number_counts_nothing() {
        let series = r#"{"metric": {}, "value": [1, "70"]}"#;
        let prometheus = prometheus([series, "", "", r#"{"metric": {}, "value": [1, "NaN"]}"#]);
        let count = async |side| prometheus.count("all{side=\"$side\"}", side).await;
        assert_eq!(count(Side::Old).await.unwrap(), 70);
        assert_eq!(count(Side::Old).await.unwrap(), 70, "its target was not reached");
        assert_eq!(count(Side::New).await.unwrap(), 0, "nobody has raised it yet");
        let trouble = count(Side::New).await.unwrap_err().0;
        assert!(trouble.contains("asked `all{side=\"new\"}`: `NaN` counts nothing"), "{trouble}");
    }

    #[tokio::test]
    async fn a_query_that_finds_nothing_of_the_side_that_works_is_refused() {
        let series = r#"{"metric": {}, "value": [1, "70"]}"#;
        prometheus([series, series]).has_counters().await.unwrap();
        let trouble = prometheus([series, ""]).has_counters().await.unwrap_err().0;
        assert!(trouble.contains("asked `bad{side=\"old\"}`, has no series"), "{trouble}");
        assert!(trouble.contains("or vector(0)"), "{trouble}");
    }
}
