//! Signed evidence of a rehearsal.
//!
//! What a rehearsal was about and how it went is a [`Rehearsal`]: the predicate of an in-toto Statement (v1), which
//! [`sign`] puts into a DSSE envelope (v1) of one line. [`verify`] takes such a file only if every byte of it is as
//! it was signed, by somebody whom the repository lists in [`Signers`], and if what it says permits a cutover at
//! all. Whether it permits *this* cutover is for [`Verified::admit`].

mod canonical;
mod digest;
mod envelope;
mod fingerprint;
mod key;
mod refusal;
mod signers;
mod statement;
mod verify;

#[cfg(test)]
pub(crate) mod sample;

pub use digest::{Digest, DigestError};
pub use envelope::{SignError, sign};
pub use fingerprint::Fingerprints;
pub use key::{KeyError, PublicKey, SigningKey};
pub use refusal::Refusal;
pub use signers::{Signer, Signers, SignersError};
pub use statement::{
    Conclusion, DrillRecord, FaultRecord, GateOutcome, GateRecord, GitIdentity, Load, NamedDigest,
    NewIdentity, OldIdentity, PREDICATE_TYPE, PerSide, Rehearsal, StepRecord, TerraformIdentity,
};
pub use verify::{Admission, Claim, DEFAULT_MAX_AGE, Freshness, Verified, Wanted, peek, verify};
