//! Terraform on the cluster's side of AWS.
//!
//! ```text
//! guard    every provider, assumed role and backend belongs to an allowed account: pure
//! archive  the root with its variables, encrypted, where any machine finds it
//! tags     what AWS says exists because of an environment
//! ```

pub mod archive;
pub mod guard;
pub mod tags;
