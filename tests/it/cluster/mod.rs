//! The cluster target, on a real Kubernetes with real pods.

mod album;
mod album_rehearsals;
mod chaos;
mod controllers;
mod converge;
mod crashes;
mod cutover;
mod cutover_work;
mod faults;
mod guard;
mod isolation;
mod life;
mod lifecycle;
mod lock;
mod platform;
mod rehearse;
mod rehearse_endpoint;
mod rehearse_work;
mod sides;
mod terraform;
mod volumes;
mod waiting;
mod waiting_faults;
