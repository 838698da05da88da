//! Whether evidence permits a cutover.

use std::collections::BTreeMap;
use std::time::Duration;

use envctl_model::cutover::plan::Adapter;
use envctl_model::stack::TargetKind;
use jiff::{SignedDuration, Timestamp};

use super::digest::Digest;
use super::envelope::Envelope;
use super::fingerprint::unlike;
use super::refusal::Refusal;
use super::signers::Signers;
use super::statement::{Conclusion, Rehearsal};

/// How long evidence counts, if nobody says otherwise.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(72 * 60 * 60);

/// By how much the clocks of two machines that are kept in time may differ.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// How old evidence may be.
#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    /// The time here.
    pub now: Timestamp,
    /// How long ago the rehearsal may have ended.
    pub max_age: Duration,
}

/// Evidence that is authentic, of a successful rehearsal, and fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    rehearsal: Rehearsal,
    signer: String,
    id: Digest,
}

/// What is about to be cut over. All of it has to be as it was rehearsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The component.
    pub component: String,
    /// The digest of the plan file's bytes.
    pub plan: Digest,
    /// The images, by the names of the stack file.
    pub images: BTreeMap<String, Digest>,
    /// The digest of the chart's files.
    pub chart: Digest,
    /// The merged values, by [`super::Fingerprints::values`].
    pub values: Digest,
    /// The rendered objects, by [`super::Fingerprints::manifests`] with the plan's divergence.
    pub manifests: BTreeMap<String, Digest>,
    /// The files of the Terraform root that made what the rehearsal needed, if there is one.
    pub terraform: Option<Digest>,
    /// The kind of the target.
    pub target: TargetKind,
    /// How the router is operated, if there is one.
    pub router: Option<Adapter>,
}

impl Wanted {
    /// Exactly what was rehearsed: for a cutover that was compared with it already, when it began.
    #[must_use]
    pub fn as_rehearsed(rehearsal: &Rehearsal) -> Self {
        Self {
            component: rehearsal.component.clone(),
            plan: rehearsal.plan.digest,
            images: rehearsal.new.images.clone(),
            chart: rehearsal.new.chart,
            values: rehearsal.new.values,
            manifests: rehearsal.new.manifests.clone(),
            terraform: rehearsal.terraform.as_ref().map(|terraform| terraform.configuration),
            target: rehearsal.new.target,
            router: rehearsal.router,
        }
    }
}

/// Evidence that permits one cutover. Only [`Verified::admit`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission(Verified);

/// What a file says, before anything of it is checked but its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What was rehearsed, and how it went.
    pub rehearsal: Rehearsal,
    /// The id of the key that signed it.
    pub key: Digest,
    /// As [`Verified::id`].
    pub id: Digest,
}

/// Reads what a file says. Whoever wants to act on it has to [`verify`] it.
///
/// # Errors
/// When it is no evidence.
pub fn peek(file: &[u8]) -> Result<Claim, Refusal> {
    let envelope = Envelope::parse(file)?;
    let rehearsal = envelope.rehearsal()?;
    Ok(Claim { rehearsal, key: envelope.key, id: Digest::of(&envelope.payload) })
}

/// Checks evidence as far as that is possible without knowing what is to be cut over.
///
/// # Errors
/// The first reason not to take it. What is said by somebody who may not sign is not looked at.
pub fn verify(file: &[u8], signers: &Signers, freshness: Freshness) -> Result<Verified, Refusal> {
    let envelope = Envelope::parse(file)?;
    let Some(signer) = signers.by_id(&envelope.key) else {
        let known = signers.iter().map(|signer| signer.name.clone()).collect();
        return Err(Refusal::Signer { key: envelope.key, known });
    };
    if !signer.key.verifies(&envelope.message(), &envelope.signature) {
        return Err(Refusal::Signature { signer: signer.name.clone() });
    }
    let rehearsal = envelope.rehearsal()?;
    if rehearsal.is_draft() {
        return Err(Refusal::Draft);
    }
    if rehearsal.verdict != Conclusion::Successful {
        return Err(Refusal::Verdict { verdict: rehearsal.verdict });
    }
    check_time(&rehearsal, freshness)?;
    Ok(Verified { rehearsal, signer: signer.name.clone(), id: Digest::of(&envelope.payload) })
}

fn check_time(rehearsal: &Rehearsal, Freshness { now, max_age }: Freshness) -> Result<(), Refusal> {
    let (began, ended) = (rehearsal.began, rehearsal.ended);
    if ended < began {
        return Err(Refusal::ClockMoved { began, ended });
    }
    let age = now.duration_since(ended);
    if age < -CLOCK_SKEW {
        return Err(Refusal::FromTheFuture { ended, now });
    }
    let max_age = SignedDuration::try_from(max_age).unwrap_or(SignedDuration::MAX);
    if age > max_age {
        return Err(Refusal::Expired { age, max_age });
    }
    Ok(())
}

impl Verified {
    /// What was rehearsed, and how it went.
    #[must_use]
    pub fn rehearsal(&self) -> &Rehearsal {
        &self.rehearsal
    }

    /// Who signed it, as the signers file names them.
    #[must_use]
    pub fn signer(&self) -> &str {
        &self.signer
    }

    /// What makes this evidence one of a kind, whoever signs it: the digest of the statement.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.id
    }

    /// Whether a plan, by the digest of its file's bytes, is the one that was rehearsed.
    ///
    /// # Errors
    /// When it is another one.
    pub fn of_plan(&self, plan: Digest) -> Result<(), Refusal> {
        let found = self.rehearsal.plan.digest;
        if found == plan { Ok(()) } else { Err(Refusal::OtherPlan { found, wanted: plan }) }
    }

    /// Whether it permits this cutover. `used` says whether evidence of that id permitted one already; who asks
    /// has to write the id down, in one go with asking, before anything is done.
    ///
    /// # Errors
    /// The first thing that is not as it was rehearsed.
    pub fn admit(self, wanted: &Wanted, used: impl Fn(&Digest) -> bool) -> Result<Admission, Refusal> {
        if self.rehearsal.component != wanted.component {
            return Err(Refusal::OtherComponent {
                found: self.rehearsal.component.clone(),
                wanted: wanted.component.clone(),
            });
        }
        self.of_plan(wanted.plan)?;
        let (found, router) = (&self.rehearsal.new, self.rehearsal.router);
        if found.target != wanted.target {
            return Err(Refusal::OtherTargetKind { found: found.target, wanted: wanted.target });
        }
        if router != wanted.router {
            return Err(Refusal::OtherRouter { found: router, wanted: wanted.router });
        }
        let images = unlike(&found.images, &wanted.images);
        if !images.is_empty() {
            return Err(Refusal::OtherImages { images });
        }
        if found.chart != wanted.chart {
            return Err(Refusal::OtherChart { found: found.chart, wanted: wanted.chart });
        }
        if found.values != wanted.values {
            return Err(Refusal::OtherValues);
        }
        let objects = unlike(&found.manifests, &wanted.manifests);
        if !objects.is_empty() {
            return Err(Refusal::OtherManifests { objects });
        }
        let found = self.rehearsal.terraform.as_ref().map(|terraform| terraform.configuration);
        if found != wanted.terraform {
            return Err(Refusal::OtherTerraform { found, wanted: wanted.terraform });
        }
        if used(&self.id) {
            return Err(Refusal::Used { id: self.id });
        }
        Ok(Admission(self))
    }
}

impl Admission {
    /// The evidence.
    #[must_use]
    pub fn evidence(&self) -> &Verified {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evidence::sample::rehearsal;
    use crate::evidence::{Signer, SigningKey, sign};

    const FRESH: Freshness = Freshness { now: Timestamp::UNIX_EPOCH, max_age: DEFAULT_MAX_AGE };

    struct Office {
        key: SigningKey,
        signers: Signers,
    }

    impl Office {
        fn new() -> Self {
            let key = SigningKey::generate().unwrap();
            let signer = Signer { name: "aki".to_owned(), key: key.public() };
            Self { signers: Signers::parse("signers", &signer.to_string()).unwrap(), key }
        }

        fn file(&self, rehearsal: &Rehearsal) -> Vec<u8> {
            sign(rehearsal, &self.key).unwrap()
        }

        fn verify(&self, rehearsal: &Rehearsal) -> Result<Verified, Refusal> {
            verify(&self.file(rehearsal), &self.signers, one_hour_after(rehearsal))
        }
    }

    fn one_hour_after(rehearsal: &Rehearsal) -> Freshness {
        Freshness { now: rehearsal.ended + SignedDuration::from_hours(1), ..FRESH }
    }

    fn refused(change: impl Fn(&mut Rehearsal)) -> Refusal {
        let mut rehearsal = rehearsal();
        change(&mut rehearsal);
        Office::new().verify(&rehearsal).unwrap_err()
    }

    #[test]
    fn fresh_evidence_of_a_successful_rehearsal_permits_its_cutover_once() {
        let (office, rehearsal) = (Office::new(), rehearsal());
        let verified = office.verify(&rehearsal).unwrap();
        assert_eq!((verified.signer(), verified.rehearsal()), ("aki", &rehearsal));
        let id = verified.id();
        let admitted = verified.clone().admit(&Wanted::as_rehearsed(&rehearsal), |_| false).unwrap();
        assert_eq!(admitted.evidence().id(), id);
        let again = verified.admit(&Wanted::as_rehearsed(&rehearsal), |used| *used == id);
        assert_eq!(again, Err(Refusal::Used { id }));
    }

    #[test]
    fn signed_again_by_somebody_else_it_is_the_same_evidence() {
        let id = |office: Office| office.verify(&rehearsal()).unwrap().id();
        assert_eq!(id(Office::new()), id(Office::new()));
    }

    #[test]
    fn no_byte_of_the_file_can_be_another_one() {
        let (office, rehearsal) = (Office::new(), rehearsal());
        let (file, fresh) = (office.file(&rehearsal), one_hour_after(&rehearsal));
        verify(&file, &office.signers, fresh).unwrap();
        for at in 0..file.len() {
            for mask in [1, 0x20, 0x80] {
                let mut changed = file.clone();
                changed[at] ^= mask;
                assert!(verify(&changed, &office.signers, fresh).is_err(), "byte {at} with {mask:#x}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_change_of_a_file_goes_unnoticed(
            at: prop::sample::Index, with: Vec<u8>, length in 0_usize..4,
        ) {
            let (office, rehearsal) = (Office::new(), rehearsal());
            let (file, fresh) = (office.file(&rehearsal), one_hour_after(&rehearsal));
            let at = at.index(file.len());
            let mut changed = file.clone();
            changed.splice(at..(at + length).min(file.len()), with);
            prop_assume!(changed != file);
            prop_assert!(verify(&changed, &office.signers, fresh).is_err());
        }

        #[test]
        fn no_changed_byte_of_payload_or_signature_is_taken_for_anything_else(
            at: prop::sample::Index, mask in 1_u8.., in_signature: bool,
        ) {
            use base64::Engine as _;
            use base64::engine::general_purpose::STANDARD;
            let (office, rehearsal) = (Office::new(), rehearsal());
            let mut envelope: serde_json::Value =
                serde_json::from_slice(&office.file(&rehearsal)).unwrap();
            let place = if in_signature { "/signatures/0/sig" } else { "/payload" };
            let text = envelope.pointer_mut(place).unwrap();
            let mut bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            *text = STANDARD.encode(bytes).into();
            let refused = verify(format!("{envelope}\n").as_bytes(), &office.signers, one_hour_after(&rehearsal));
            prop_assert_eq!(refused.unwrap_err(), Refusal::Signature { signer: "aki".to_owned() });
        }
    }

    #[test]
    fn who_is_not_listed_cannot_sign() {
        let file = Office::new().file(&rehearsal());
        let refused = verify(&file, &Office::new().signers, one_hour_after(&rehearsal())).unwrap_err();
        assert!(matches!(&refused, Refusal::Signer { known, .. } if known == &["aki"]), "{refused}");
        let refused = verify(&file, &Signers::default(), one_hour_after(&rehearsal())).unwrap_err();
        assert!(refused.to_string().contains("lists nobody"), "{refused}");
    }

    #[test]
    fn a_draft_is_refused() {
        assert_eq!(refused(|rehearsal| rehearsal.new.target = TargetKind::Compose), Refusal::Draft);
    }

    #[test]
    fn what_did_not_succeed_is_refused() {
        for verdict in [Conclusion::Failed, Conclusion::Inconclusive] {
            assert_eq!(refused(|rehearsal| rehearsal.verdict = verdict), Refusal::Verdict { verdict });
        }
    }

    #[test]
    fn evidence_expires_and_says_how_old_it_is() {
        let (office, rehearsal) = (Office::new(), rehearsal());
        let after = |hours, minutes| {
            let age = SignedDuration::from_hours(hours) + SignedDuration::from_mins(minutes);
            verify(
                &office.file(&rehearsal),
                &office.signers,
                Freshness { now: rehearsal.ended + age, ..FRESH },
            )
        };
        after(72, 0).unwrap();
        let refused = after(72, 1).unwrap_err();
        assert!(matches!(refused, Refusal::Expired { .. }), "{refused}");
        assert!(
            refused.to_string().starts_with("the rehearsal ended 72 h 1 min ago; evidence counts for 72 h\n")
        );
        // Clocks that are kept in time differ by a little; by more, one of them is wrong.
        after(0, -5).unwrap();
        assert!(matches!(after(0, -6).unwrap_err(), Refusal::FromTheFuture { .. }));
    }

    #[test]
    fn a_clock_that_was_set_back_in_between_is_noticed() {
        let refused = refused(|rehearsal| {
            std::mem::swap(&mut rehearsal.began, &mut rehearsal.ended);
        });
        assert!(matches!(refused, Refusal::ClockMoved { .. }), "{refused}");
    }

    #[test]
    fn each_thing_that_is_not_as_it_was_rehearsed_is_refused_for_its_own_reason() {
        let other = Digest::of(b"other");
        type Change = fn(&mut Wanted, Digest);
        let changes: [(Change, &str); 12] = [
            (
                |wanted, _| wanted.component = "worker".to_owned(),
                "component `api` was rehearsed, not `worker`",
            ),
            (|wanted, other| wanted.plan = other, "the plan is not the one that was rehearsed"),
            (|wanted, other| _ = wanted.images.insert("app".to_owned(), other), "were rehearsed: app"),
            (|wanted, other| _ = wanted.images.insert("more".to_owned(), other), "were rehearsed: more"),
            (|wanted, other| wanted.chart = other, "the chart is not"),
            (|wanted, other| wanted.values = other, "the merged values are not"),
            (
                |wanted, other| _ = wanted.manifests.insert("Service/x".to_owned(), other),
                "`divergence`: Service/x\n",
            ),
            (|wanted, _| wanted.manifests.clear(), "`divergence`: Deployment/api, Service/api\n"),
            (|wanted, other| wanted.terraform = Some(other), "the Terraform root is not the one"),
            (|wanted, _| wanted.terraform = None, ", now none)"),
            (|wanted, _| wanted.target = TargetKind::Compose, "ran on EKS, and the cutover's is on Compose"),
            (|wanted, _| wanted.router = None, "router was haproxy, and the cutover's is none"),
        ];
        let verified = Office::new().verify(&rehearsal()).unwrap();
        for (change, said) in changes {
            let mut wanted = Wanted::as_rehearsed(&rehearsal());
            change(&mut wanted, other);
            let refused = verified.clone().admit(&wanted, |_| false).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}\nis not: {said}");
        }
    }

    #[test]
    fn what_may_differ_is_seen_as_equal_by_the_fingerprints_of_both() {
        use envctl_model::cutover::plan::Divergence;
        let fingerprints = crate::evidence::Fingerprints::new(&[7; 32]);
        let divergence = [Divergence {
            object: "Deployment/api".to_owned(),
            path: "spec.replicas".to_owned(),
            reason: "size".to_owned(),
        }];
        let render = |replicas: u32, image: &str| {
            let object = serde_json::json!({"kind": "Deployment", "metadata": {"name": "api"},
                                            "spec": {"replicas": replicas, "image": image}});
            fingerprints.manifests(&[object], &divergence)
        };
        let mut rehearsal = rehearsal();
        rehearsal.new.manifests = render(2, "a");
        let verified = Office::new().verify(&rehearsal).unwrap();
        let admit = |manifests| {
            verified.clone().admit(&Wanted { manifests, ..Wanted::as_rehearsed(&rehearsal) }, |_| false)
        };
        admit(render(40, "a")).unwrap();
        assert!(matches!(admit(render(2, "b")), Err(Refusal::OtherManifests { .. })));
    }
}
