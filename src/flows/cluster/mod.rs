//! The cluster target: the chart in a guarded namespace of a shared EKS cluster.

pub(crate) mod down;
pub(crate) mod forward;
mod lock;
pub(crate) mod owned;
mod patiently;
pub(crate) mod restart;
pub(crate) mod session;
pub(crate) mod settle;
pub(crate) mod sleep;
pub(crate) mod status;
pub(crate) mod target;
mod terraform;
pub(crate) mod up;
