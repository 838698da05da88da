//! Counters that Prometheus keeps, by its HTTP API: <https://prometheus.io/docs/prometheus/latest/querying/api/>.

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
        })
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
        let (requests, failed, p99) =
            tokio::try_join!(self.ask(&self.requests, side), self.ask(&self.failed, side), p99)?;
        // A counter that nobody has raised yet is not there.
        let whole = |number: Option<f64>| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
            {
                number.unwrap_or(0.0).round() as u64
            }
        };
        // Without requests a quantile is not a number.
        let p99 = p99.filter(|seconds| seconds.is_finite());
        Ok(Counters { requests: whole(requests), failed: whole(failed), p99 })
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
