//! An environment that lives: what runs in it, what that says, and what one does with it day by day.
//!
//! ```text
//! workloads what is to run
//! pods      what runs, by workload
//! usage     what environments ask for, all of a cluster at once
//! logs      what containers wrote, and write
//! session   a process in a container, joined to a terminal or to pipes
//! one_off   a pod or a Job made for one command
//! forward   a port of this machine that leads to a pod
//! scale     sleep and wake
//! restart   pods replaced by equal ones
//! drift     what is not as it was delivered
//!
//! lifetimes what becomes of each pod, as it happens
//! settings  how pods are configured, as digests
//! expose    a way in for a router outside of the cluster
//! ```

pub mod drift;
pub mod expose;
pub mod forward;
pub mod lifetimes;
pub mod logs;
pub mod one_off;
pub mod pods;
pub mod restart;
pub mod scale;
pub mod session;
pub mod settings;
pub mod usage;
pub mod workloads;
