//! The container registry of a self-managed GitLab: distribution's notifications, with static headers.
//!
//! gitlab.com sends none of these (gitlab#15385): there, call a generic receiver from the pipeline.

use crate::http::webhooks::sender::{Facts, Proof};

use super::distribution;

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "gitlab",
    title: "GitLab container registry (self-managed)",
    read: distribution::read,
    proofs: &[Proof::Token],
    early: true,
    guide: "\
In /etc/gitlab/gitlab.rb, then `gitlab-ctl reconfigure`:

  registry['notifications'] = [
    {
      'name' => 'tagboat',
      'url' => '{url}',
      'timeout' => '1s',
      'threshold' => 5,
      'backoff' => '1s',
      'headers' => { 'Authorization' => ['Bearer {secret}'] }
    }
  ]

gitlab.com has no such setting: make a receiver with `tagboat hook new generic` and call it from the pipeline.",
    sample: distribution::sample,
    ..Facts::COMMON
};
