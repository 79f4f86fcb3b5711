//! One file per sender: what it sends, how it can prove itself, where a person configures it, and a sample.
//!
//! A reader is a pure function from headers and body to pushes. None of them believes anything: what comes out is
//! only where to look.

pub(super) mod acr;
pub(super) mod alibaba;
pub(super) mod distribution;
pub(super) mod dockerhub;
pub(super) mod ecr;
pub(super) mod eventgrid;
pub(super) mod generic;
pub(super) mod gitea;
pub(super) mod github;
pub(super) mod gitlab;
pub(super) mod google;
pub(super) mod harbor;
pub(super) mod jfrog;
pub(super) mod msr;
pub(super) mod nexus;
pub(super) mod quay;
pub(super) mod sns;
pub(super) mod zot;
