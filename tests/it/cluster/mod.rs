//! The cluster target, on a real Kubernetes with real pods.

mod chaos;
mod controllers;
mod converge;
mod crashes;
mod cutover;
mod cutover_work;
mod example;
mod faults;
mod guard;
mod isolation;
mod life;
mod lifecycle;
mod lock;
mod platform;
mod rehearse;
mod rehearse_album;
mod rehearse_endpoint;
mod rehearse_work;
mod secrets;
mod shelf;
mod sides;
mod terraform;
mod volumes;
mod waiting;
mod waiting_faults;
