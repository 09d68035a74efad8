//! A platform that has nothing but bricks. Its machines are those of the fake builder.

use std::path::PathBuf;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;
use testing::fake_builder::{FakeBuilder, FakeMachine};
use vault_bake::builder::{Boot, Builder, BuilderError, Captured, Disk};
use vault_bake::definition::platform::{
    BaseError, BaseErrorKind, LockContext, Parts, PlannedBase, PlannedMachine, PlannedOutput,
    Platform, Reading, Tables, Target, TargetLines, Unplannable,
};
use vault_bake::definition::{Definition, Problem};
use vault_bake::event::Events;
use vault_bake::release::Architecture;
use vault_bake::teardown::Teardown;
use vault_bake::wait::Interrupt;

const NAME: &str = "toy";

/// What definitions, locks and plans know of toys.
pub struct Toy;

/// `[base.toy]`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Base {
    brick: String,
}

/// `[machine.toy]`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    boot_timeout_s: u64,
}

/// The exact base.
#[derive(Serialize, Deserialize)]
struct LockedBase {
    brick: String,
    pieces: u32,
}

impl Platform for Toy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn read(&self, mut tables: Tables, reading: &Reading<'_>) -> Result<Option<Parts>, Problem> {
        let machine = tables.machine::<Machine>(reading)?;
        let machine = machine.unwrap_or(Machine { boot_timeout_s: 30 });
        let base = tables.base::<Base>(reading)?;
        Ok(base.map(|base| Parts {
            base: json!(base),
            machine: json!(machine),
            output: json!({}),
        }))
    }

    fn lock<'a>(
        &'a self,
        parts: &'a Parts,
        _context: LockContext<'a>,
    ) -> BoxFuture<'a, Result<toml::Table, BaseError>> {
        Box::pin(async {
            let brick = parts.base["brick"].as_str().unwrap_or_default().to_owned();
            if brick == "black" {
                return Err(BaseError {
                    kind: BaseErrorKind::Failed,
                    message: "cannot lock the base: there is no black brick".to_owned(),
                    hint: Some("Choose another colour.".to_owned()),
                });
            }
            let locked = LockedBase { brick, pieces: 3 };
            Ok(toml::Table::try_from(locked).expect("a table"))
        })
    }

    fn plan(
        &self,
        _definition: &Definition,
        parts: &Parts,
        locked: &toml::Table,
    ) -> Result<Target, Unplannable> {
        let locked = locked.clone().try_into::<LockedBase>();
        let locked = locked.map_err(|_| Unplannable::Lock("its base is no brick"))?;
        let machine = PlannedMachine(parts.machine.clone());
        let timeout_s = machine.boot_timeout_s();
        Ok(Target {
            lines: TargetLines {
                base: vec![format!("a {} brick", locked.brick)],
                machine: format!("a toy, up to {timeout_s} s to boot"),
                output: vec!["a file".to_owned()],
            },
            base: PlannedBase {
                wanted: parts.base.clone(),
                locked: json!(locked),
            },
            architecture: Architecture::X86_64,
            test_machine: machine.clone(),
            machine,
            output: PlannedOutput(parts.output.clone()),
            downloads: false,
            not_pinned: Vec::new(),
        })
    }
}

/// Builds on toys.
pub struct ToyBuilder(pub FakeBuilder);

impl Builder for ToyBuilder {
    type Machine = FakeMachine;

    fn name(&self) -> &'static str {
        NAME
    }

    async fn base(
        &self,
        base: &PlannedBase,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Disk, BuilderError> {
        let locked = LockedBase::deserialize(&base.locked);
        locked.map_err(|_| BuilderError::WrongBuilder)?;
        self.0.base(base, teardown, events, interrupt).await
    }

    async fn boot(
        &self,
        boot: Boot<'_>,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<FakeMachine, BuilderError> {
        self.0.boot(boot, teardown, events, interrupt).await
    }

    async fn capture(
        &self,
        machine: FakeMachine,
        to: PathBuf,
        teardown: &mut Teardown,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<Captured, BuilderError> {
        self.0
            .capture(machine, to, teardown, events, interrupt)
            .await
    }
}
