//! The cluster target: the chart in a guarded namespace of a shared EKS cluster.

pub(crate) mod down;
mod lock;
pub(crate) mod target;
mod terraform;
pub(crate) mod up;
