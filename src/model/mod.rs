//! The nouns: values that cross a door between rooms, and the rules that make them valid.
//!
//! Nothing here waits, reads a clock or touches the outside. A value is parsed once, at the door, and
//! trusted from there on; every enum that reaches a log, a metric or the API has a stable `label()`.

mod app;
mod container;
mod decision;
mod event;
mod failure;
mod gates;
mod group;
mod image;
mod jobs;
mod names;
mod plan;
mod policy;
mod prune;
mod registry;
mod status;
mod store;
mod traffic;

pub use app::{
    App, ContainerSpec, Env, Follow, HealthcheckSpec, LogSpec, Origin, Probe, RedeployOn, RestartPolicy, Route,
    Schedule, SwapTiming, Ulimit,
};
pub use container::{Container, ContainerState, Health, ImageDetails, Owned, label};
pub use decision::{Decision, Hold, Stage, Strategy};
pub use event::{Event, EventKind, PullProgress};
pub use failure::{Failure, FailureReason};
pub use gates::{
    Approval, Bearer, Check, Evidence, Gate, Gates, Looked, PublicKey, ScanRule, ScanSubject, ScanVerdict, Scanner,
    SignatureRule, SignatureVerdict, Window,
};
pub use group::{GroupDeployment, GroupMember, GroupPart, GroupResult};
pub use image::{Digest, ImageRef, InvalidReference, Platform, Repository, Tag, Version};
pub use jobs::{ExecOutcome, Hook, HookAct, Hooks, Job, JobContainer, JobKind, Jobs};
pub use names::{AppName, ContainerId, Generation, GroupName, InvalidName, ListenAddr, SwapId};
pub use plan::{Plan, PlanReason, Step};
pub use policy::{Prerelease, TagOrder, TagPolicy, TagReport, TagRule, TagVerdict};
pub use prune::{Leftover, LeftoverKind, Pruned, Remains, StoredImage};
pub use registry::{Cached, CachedTags, Credentials, ManifestDetails, Quota, Referrer, Resolved, SecretKind, TagList};
pub use status::{AppState, AppStatus, CheckResult, Deployed, RegistryStatus, Replica, Replicas};
pub use store::{Attempts, Deployment, DeploymentResult, Pin, Quarantine, Seen, SeenSource, StepRecord};
pub use traffic::{
    AppCounters, AppEntry, AppHold, AppSwitch, CONTROL_VERSION, Histogram, HoldLimits, InFlight, LATENCY_BUCKETS_MS,
    NOWHERE, Parking, ProbeOutcome, RouteSet, SwitchAck, Table, Target, TargetCounters, TrafficStats,
};

/// Wall-clock time, always UTC; pure code gets it as an argument.
pub type Time = chrono::DateTime<chrono::Utc>;
