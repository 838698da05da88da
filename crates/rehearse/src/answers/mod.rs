//! Whether both sides answer the same requests alike.
//!
//! Each request of a sample is sent three times: to the old side, to the new side, and to the old side again. What
//! differs between the two answers of the old side, such as the time of day or a random id, is volatile: the old side
//! does not answer like itself there, so nobody can ask it of the new side. A list of what to pass over, kept by hand,
//! would hide differences that matter, and would miss what the next release adds; asking twice needs no list. The
//! new side is asked in between: what only moves forward, such as a clock that shows seconds or a counter that the
//! load drives, cannot differ on the new side alone. The price is a place that differs by chance on the old side and
//! did not just then, and a place that is volatile and also wrong: neither is told apart.
//!
//! Requests that change something are not sent: the second one would meet another state than the first.

mod alike;
mod ask;
mod body;
mod headers;
mod json;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::HeaderValue;

use crate::draw::Weights;
use crate::gates::BESIDE_THE_LOAD;
use crate::load::{Mix, MixRequest};
use crate::observation::{Observation, Sink, Time};
use alike::Alike;

/// Requests under way at a time.
const AT_A_TIME: usize = 8;

/// What is compared.
#[derive(Debug, Clone)]
pub struct Comparing<'a> {
    /// From which requests the sample is drawn, by weight. Only safe ones are: GET, HEAD and OPTIONS (RFC 9110,
    /// section 9.2.1).
    pub mix: &'a Mix,
    /// Fixes the sample.
    pub seed: u64,
    /// How many requests each side is asked to answer.
    pub sample: u32,
    /// An instance of the old side, or what stands before them.
    pub old: SocketAddr,
    /// An instance of the new side, or what stands before them.
    pub new: SocketAddr,
    /// What the requests say in `Host`, if the mix does not say it.
    pub host: HeaderValue,
    /// When the recording began.
    pub clock: Instant,
    /// After how long a request without a whole answer is given up.
    pub timeout: Duration,
}

/// What came of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// Requests that were sent to both sides, each told as an [`Observation::Compared`].
    pub requests: u32,
    /// Of these, such with a difference.
    pub different: u32,
    /// Of these, such that the old side answered with another status than the mix expects. That both sides refuse a
    /// request alike proves little.
    pub unexpected: u32,
    /// What was not compared, because the old side does not answer like itself there: for each place, such as
    /// `photos: body /now` after the request's name in the mix, in how many requests. Numbers of list members are
    /// written as `#`.
    pub volatile: BTreeMap<String, u32>,
}

/// A comparison that cannot be made. A side that does not answer is no such thing: that is a difference.
#[derive(Debug, thiserror::Error)]
pub enum AnswersError {
    /// Everything in the mix changes something.
    #[error(
        "the mix has no request that can be sent to both sides: all of them may change something; add a GET with a \
         weight above 0 to the mix, or remove the step `sameAnswer`"
    )]
    NothingSafe,
    /// This machine cannot send.
    #[error("the request {request} cannot be sent, for want of something on this machine: {error}")]
    Unsent {
        /// The request, such as `GET /photos`.
        request: String,
        /// What is wanting.
        error: io::Error,
    },
}

/// Asks both sides the same, and tells the sink of each request in what the answers differ.
///
/// What is told of a difference is cut to a few words around it, and of what carries a secret by its name, such as a
/// cookie, only that it differs.
///
/// # Errors
/// When the mix has nothing that can be sent twice, or this machine cannot send.
pub async fn compare(spec: Comparing<'_>, sink: &Sink) -> Result<Compared, AnswersError> {
    let safe: Vec<&MixRequest> =
        spec.mix.requests.iter().filter(|asked| asked.method.is_safe() && asked.weight > 0).collect();
    if safe.is_empty() {
        return Err(AnswersError::NothingSafe);
    }
    let weights = Weights::new(safe.iter().map(|asked| asked.weight));
    let mut random = fastrand::Rng::with_seed(spec.seed);
    let sample: Vec<_> =
        (0..spec.sample).map(|n| one(&spec, n, safe[weights.draw(&mut random)], sink)).collect();
    let told = stream::iter(sample).buffer_unordered(AT_A_TIME);
    told.try_fold(Compared::default(), async |mut all, one: One| {
        all.requests += 1;
        all.different += u32::from(one.differs);
        all.unexpected += u32::from(one.unexpected);
        for place in one.volatile {
            *all.volatile.entry(place).or_default() += 1;
        }
        Ok(all)
    })
    .await
}

/// What came of one request.
struct One {
    differs: bool,
    unexpected: bool,
    volatile: Vec<String>,
}

async fn one(spec: &Comparing<'_>, n: u32, asked: &MixRequest, sink: &Sink) -> Result<One, AnswersError> {
    // A dot: what looks for ids of the load in a log looks for the seed and a hyphen.
    let id = format!("{BESIDE_THE_LOAD}{:x}.{n}", spec.seed);
    let request = asked.render(u64::from(n), &id, &spec.host);
    let name = format!("{} {}", request.method(), request.uri());
    let unsent = |error| AnswersError::Unsent { request: name.clone(), error };
    let old = ask::ask(spec.old, request.clone(), spec.timeout).await.map_err(unsent)?;
    let new = ask::ask(spec.new, request.clone(), spec.timeout).await.map_err(unsent)?;
    let again = ask::ask(spec.old, request, spec.timeout).await.map_err(unsent)?;
    let Alike { differences, volatile } = alike::alike(&old, &again, &new);
    let told = One {
        differs: !differences.is_empty(),
        unexpected: old.is_ok_and(|answer| answer.status != asked.expect),
        volatile: volatile.iter().map(|place| format!("{}: {place}", asked.name)).collect(),
    };
    let at = Time::of(spec.clock, Instant::now());
    sink(Observation::Compared { at, request: name, differences });
    Ok(told)
}
