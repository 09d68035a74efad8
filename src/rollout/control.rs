//! The controller: one process that works on an open rollout, fenced by its epoch.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry::Vacant;
use std::fs;

use super::execute::{ExecuteError, ExecuteOptions, Outcome, execute};
use super::guards::to_begin;
use super::journal::{Entries, Entry, Journal as _, JournalFile, Mark};
use super::local::{Local, Opening, start_canary};
use super::plan::{Plan, Purpose};
use super::prepare::{Prepared, plan_again, plan_back};
use super::{Ended, Figures, Options, RolloutError, folder, record};
use crate::cluster::begin::images_folder;
use crate::cluster::running::Running;
use crate::cluster::state::{OpenRollout, State};
use crate::cluster::{Cluster, ClusterError, Context, Images};
use crate::digest::Digest;
use crate::manifest::{RolloutOutcome, RolloutRecord};
use crate::store::backend::Backend;
use crate::store::event::RolloutBegin;
use crate::store::new_id;
use crate::wait::{Interrupt, Urgency};

/// The most plans of one controller. Each one follows a change that no step explains.
const MOST_PLANS: usize = 20;

/// A controller of an open rollout.
pub(super) struct Control<'a, B> {
    pub(super) cluster: &'a Cluster<'a>,
    pub(super) images: &'a Images<'a, B>,
    pub(super) options: &'a Options<'a>,
    pub(super) context: &'a Context<'a>,
    pub(super) open: OpenRollout,
    /// Whether another process worked on the rollout before, here or elsewhere.
    is_resumed: bool,
}

impl Prepared {
    /// Returns the plan, unless a guard refuses it, or `None` if it has nothing to do.
    /// Copies its images to this computer.
    pub(super) async fn accepted<B: Backend>(
        self,
        cluster: &Cluster<'_>,
        images: &Images<'_, B>,
    ) -> Result<Option<Plan>, RolloutError> {
        let (plan, refusals) = (self.plan, self.refusals);
        let Some(plan) = to_begin(plan, refusals)? else {
            return Ok(None);
        };
        for image in &self.images {
            images.fetch(image, &images_folder(cluster.folder)).await?;
        }
        Ok(Some(plan))
    }
}

impl<'a, B: Backend> Control<'a, B> {
    /// Stores the plan, and appends the begin of the rollout to the log.
    pub(super) async fn begin(
        cluster: &'a Cluster<'a>,
        images: &'a Images<'a, B>,
        options: &'a Options<'a>,
        context: &'a Context<'a>,
        plan: &Plan,
    ) -> Result<Self, RolloutError> {
        let store = images.store;
        let digest = store.put_object(&plan.to_bytes()).await?;
        let last = store.history().await?;
        let last = last.rollout(&plan.cluster).map_or(0, |last| last.epoch);
        let open = OpenRollout {
            plan: digest,
            epoch: last + 1,
        };
        let control = Self {
            cluster,
            images,
            options,
            context,
            open,
            is_resumed: false,
        };
        control.append(plan, false).await?;
        Ok(control)
    }

    /// Finds the open rollout of a cluster, or takes it over from another controller.
    pub(super) async fn find(
        cluster: &'a Cluster<'a>,
        images: &'a Images<'a, B>,
        options: &'a Options<'a>,
        context: &'a Context<'a>,
    ) -> Result<Self, RolloutError> {
        let state = cluster.folder.require()?;
        let history = images.store.history().await?;
        let Some(open) = history.open_rollout(&state.id) else {
            return Err(RolloutError::NotOpen { name: state.name });
        };
        let open = OpenRollout {
            plan: open.plan,
            epoch: open.epoch,
        };
        let control = |open| Self {
            cluster,
            images,
            options,
            context,
            open,
            is_resumed: true,
        };
        if state.rollout == Some(open) {
            return Ok(control(open));
        }
        if !options.take_over {
            return Err(RolloutError::Elsewhere {
                name: state.name,
                epoch: open.epoch,
            });
        }
        let control = control(OpenRollout {
            epoch: open.epoch + 1,
            ..open
        });
        let plan = control.plan(&open.plan).await?;
        control.append(&plan, true).await?;
        Ok(control)
    }

    /// Appends the begin of this epoch, then writes it into the state of the cluster.
    async fn append(&self, plan: &Plan, takes_over: bool) -> Result<(), RolloutError> {
        let now = (self.context.now)();
        let begin = RolloutBegin {
            cluster: plan.cluster.clone(),
            name: plan.name.clone(),
            epoch: self.open.epoch,
            plan: self.open.plan,
            takes_over,
        };
        let store = self.images.store;
        store.begin_rollout(new_id(now), begin, now).await?;
        let mut state = self.cluster.folder.require()?;
        state.rollout = Some(self.open);
        state.epoch = self.open.epoch;
        state.generation = state.generation.max(plan.generation);
        self.cluster.folder.write(&state)?;
        Ok(())
    }

    /// Reads a plan of the store.
    async fn plan(&self, digest: &Digest) -> Result<Plan, RolloutError> {
        let bytes = self.images.store.object(digest).await?;
        Plan::parse(&bytes).map_err(|error| RolloutError::BadPlan {
            digest: digest.to_string(),
            why: error.to_string(),
        })
    }

    fn journal(&self) -> Result<(JournalFile, Entries), RolloutError> {
        let folder = folder(self.cluster.folder);
        fs::create_dir_all(&folder).map_err(ClusterError::file(&folder))?;
        let name = format!("{}.jsonl", &self.open.plan.hex()[..16]);
        Ok(JournalFile::open(&folder.join(name))?)
    }

    /// Returns the last plan of this rollout: that of the journal, or of the log without one.
    pub(super) async fn last_plan(&self) -> Result<Plan, RolloutError> {
        let (_, found) = self.journal()?;
        let last = found
            .entries
            .last()
            .map_or(self.open.plan, |last| last.plan);
        self.plan(&last).await
    }

    /// Plans the way back.
    pub(super) async fn plan_abort(&self) -> Result<Plan, RolloutError> {
        let plan = self.last_plan().await?;
        if plan.purpose == Purpose::Abort {
            return Ok(plan);
        }
        let plan = plan_back(self.cluster, self.images, &plan, self.context).await?;
        self.images.store.put_object(&plan.to_bytes()).await?;
        Ok(plan)
    }

    /// Works on a plan, and on those that follow it, until the rollout ends or rests.
    pub(super) async fn run(&self, plan: Plan) -> Result<Ended, RolloutError> {
        let quiet = Interrupt::default();
        // The first interrupt of the user does not cut an effect.
        let calm = Context {
            interrupt: &quiet,
            ..*self.context
        };
        let state = self.cluster.folder.require()?;
        let running = Running::open(*self.cluster, &state, &calm).await?;
        let (mut journal, found) = self.journal()?;
        for line in found.damaged {
            self.context.events.warn(line);
        }
        let (canary, vault_token) =
            start_canary(self.cluster, &self.open, &running, &state, self.context).await?;
        let opening = Opening {
            cluster: *self.cluster,
            context: &calm,
            user: self.context.interrupt,
            store: self.images.store,
            shares: &self.options.unseal_shares,
            vault_token,
            canary: Some(canary),
            targets: match plan.purpose {
                Purpose::Replace => plan.new_images(),
                Purpose::Abort => Vec::new(),
            },
            epoch: self.open.epoch,
        };
        let local = Local::open(opening, running, state.clone());
        let entry = |plan: &Plan, mark| Entry {
            at: (self.context.now)(),
            epoch: self.open.epoch,
            plan: plan.digest(),
            step: 0,
            text: String::new(),
            mark,
        };
        journal.write(&entry(&plan, Mark::Started))?;
        let (plan, result) = self.follow(plan, &local, &mut journal).await;
        let elapsed_ms = local.elapsed_ms();
        let leaves_now = self.context.interrupt.urgency() == Urgency::LeaveNow;
        let mut figures = Figures::default();
        // Without a mark, the figures of its steps count, as after a kill.
        if !leaves_now {
            figures = local.close().await;
            let measured = Mark::Measured {
                figures,
                elapsed_ms,
            };
            journal.write(&entry(&plan, measured))?;
        }
        let outcome = result?;
        let record = match outcome {
            Outcome::Completed => Some(self.end(&plan).await?),
            _ => None,
        };
        Ok(Ended {
            outcome,
            plan,
            figures,
            record,
        })
    }

    /// Executes a plan, and makes a new one whenever the cluster changed underneath.
    async fn follow(
        &self,
        mut plan: Plan,
        local: &Local<'_, B>,
        journal: &mut JournalFile,
    ) -> (Plan, Result<Outcome, RolloutError>) {
        let options = ExecuteOptions {
            epoch: self.open.epoch,
            stop_before_hand_over: self.options.stop_before_hand_over,
            require_no_failure: self.options.require_no_failure,
            now: self.context.now,
        };
        for plans in 1.. {
            let (events, interrupt) = (self.context.events, self.context.interrupt);
            let executed = execute(&plan, local, journal, &options, (events, interrupt)).await;
            let why = match executed {
                Ok(Outcome::Changed { why, .. }) => why,
                // A plan from before a crash may wait for servers that are no more.
                Err(ExecuteError::NotReady { why, .. }) if plans == 1 && self.is_resumed => why,
                Ok(outcome) => return (plan, Ok(outcome)),
                Err(error) => {
                    let hint = error.hint(&plan);
                    return (plan, Err(RolloutError::Execute { error, hint }));
                }
            };
            if plans == MOST_PLANS {
                return (plan, Err(RolloutError::Unsteady { plans, why }));
            }
            events.note(format!("the cluster changed, and is planned again: {why}"));
            match self.next_plan(&plan).await {
                Ok(next) => plan = next,
                Err(error) => return (plan, Err(error)),
            }
        }
        unreachable!("the loop ends by itself")
    }

    async fn next_plan(&self, plan: &Plan) -> Result<Plan, RolloutError> {
        let next = match plan.purpose {
            Purpose::Replace => {
                let again = plan_again(self.cluster, self.images, self.options, plan, self.context);
                again.await?
            }
            Purpose::Abort => plan_back(self.cluster, self.images, plan, self.context).await?,
        };
        self.images.store.put_object(&next.to_bytes()).await?;
        Ok(next)
    }

    /// Records the rollout, and ends it in the log.
    async fn end(&self, plan: &Plan) -> Result<RolloutRecord, RolloutError> {
        let (_, Entries { entries, damaged }) = self.journal()?;
        let mut plans = BTreeMap::new();
        for entry in &entries {
            if let Vacant(place) = plans.entry(entry.plan) {
                place.insert(self.plan(&entry.plan).await?);
            }
        }
        plans.insert(self.open.plan, self.plan(&self.open.plan).await?);
        let history = self.images.store.history().await?;
        let Some(open) = history.open_rollout(&plan.cluster) else {
            return Err(RolloutError::NotOpen {
                name: plan.name.clone(),
            });
        };
        let now = (self.context.now)();
        let record = record::build(&record::Parts {
            outcome: match plan.purpose {
                Purpose::Replace => RolloutOutcome::Completed,
                Purpose::Abort => RolloutOutcome::Aborted,
            },
            first: self.open.plan,
            epochs: history.rollout_epochs(open),
            plans: &plans,
            entries: &entries,
            is_damaged: !damaged.is_empty(),
            tool: self.options.tool,
            now,
        });
        self.images.store.put_rollout(&record, now).await?;
        let mut state = self.cluster.folder.require()?;
        state.rollout = None;
        remember_versions(&mut state);
        self.cluster.folder.write(&state)?;
        Ok(record)
    }
}

/// Raises the highest version of each tier's product that ever served.
fn remember_versions(state: &mut State) {
    let parse = |text: &String| semver::Version::parse(text).ok();
    for node in state.nodes.values() {
        let product = node.tier.as_str();
        let Some(version) = node.releases.get(product) else {
            continue;
        };
        let highest = state.highest.entry(product.to_owned()).or_default();
        if parse(highest) < parse(version) {
            highest.clone_from(version);
        }
    }
}
