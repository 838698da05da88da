//! Whether both sides answer the same requests alike.

use std::sync::Arc;
use std::time::Duration;

use envctl_rehearse::answers::{self, Comparing};
use envctl_rehearse::director::Trouble;
use envctl_rehearse::{Observation, Recorder};
use http::HeaderValue;

use super::plan::Loaded;
use super::sandbox::Sandbox;

/// How long one answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Asks both sides, and writes down in what they differ. To judge that is the gate's.
pub(super) async fn compare(
    loaded: &Loaded,
    sandbox: &Sandbox,
    recorder: &Recorder,
    sample: u32,
    host: &HeaderValue,
    seed: u64,
) -> Result<(), Trouble> {
    let missing = |what: &str| Trouble(format!("answers cannot be compared: {what}"));
    let mix = loaded.mix.as_ref().ok_or_else(|| missing("the plan has no traffic"))?;
    let old = sandbox.old.addresses().await?;
    let old = *old.first().ok_or_else(|| missing("no machine of the old side runs"))?;
    let new = sandbox.exposed.ok_or_else(|| missing("the new side is not reached from here"))?;
    let sink = recorder.clone();
    let sink: envctl_rehearse::observation::Sink = Arc::new(move |seen: Observation| sink.see(seen));
    let (clock, host) = (recorder.zero(), host.clone());
    let comparing = Comparing { mix, seed, sample, old, new, host, clock, timeout: ANSWERED_WITHIN };
    answers::compare(comparing, &sink).await.map(drop).map_err(|e| Trouble(e.to_string()))
}
