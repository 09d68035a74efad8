//! `gc`: which image files nothing needs any more, and removing them in two steps.

use std::path::Path;

use vault_bake::store::event::Keep;
use vault_bake::store::gc::{Applied, ExternalUses, MOST_ITEMS, Presence, Row, Sum, Survey};
use vault_bake::store::history::{History, Planned};
use vault_bake::store::{AnyBackend, Store};
use vault_bake::terminal::visible_line;

use crate::args::gc::Gc;
use crate::commands::gc_sources::Sources;
use crate::commands::{pin, print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::invocation::{Invocation, PROC, clock};

pub async fn run(session: &Invocation, wish: &Gc) -> Result<Exit, Failure> {
    let keep = Keep {
        generations: wish.keep_generations,
        min_age_s: wish.min_age,
        pin_files: 0,
        in_use_lists: 0,
    };
    if !wish.plan && wish.apply.is_none() {
        return session.reading(dry_run(session, wish, &keep)).await;
    }
    let store = session.open_signing_store().await?;
    match wish.apply {
        Some(entry) => {
            let sources = Sources::of_plan(wish, &session.cache, &store.origin(), entry);
            if sources != Sources::given(wish) {
                print_sources(session, &sources);
            }
            let outside = outside(session, &sources, &store).await?;
            let applied = store.apply_gc(entry, &outside, clock()).await?;
            print_applied(session, entry, &applied, &outside);
            Ok(if applied.failed.is_empty() {
                Exit::Done
            } else {
                Exit::Leaked
            })
        }
        None => {
            let sources = Sources::given(wish);
            let outside = outside(session, &sources, &store).await?;
            let planned = store.plan_gc(&keep, &outside, wish.grace, clock());
            let (survey, planned) = planned.await?;
            if let Some(planned) = &planned {
                sources.remember(&session.cache, &store.origin(), planned.seq)?;
            }
            print_survey(session, &survey);
            print_plan(session, &survey, planned.as_ref(), &outside);
            Ok(Exit::Done)
        }
    }
}

async fn dry_run(session: &Invocation, wish: &Gc, keep: &Keep) -> Result<Exit, Failure> {
    let store = session.open_store().await?;
    let outside = outside(session, &Sources::given(wish), &store).await?;
    let history = store.history().await?;
    let survey = store.survey(&history, keep, &outside, clock()).await?;
    print_survey(session, &survey);
    print_dry_run(session, &survey, &history, &outside);
    Ok(Exit::Done)
}

/// All that holds images and is not in the log.
async fn outside(
    session: &Invocation,
    sources: &Sources,
    store: &Store<AnyBackend>,
) -> Result<ExternalUses, Failure> {
    let mut outside = ExternalUses::default();
    let trust = session.keys.trust()?;
    if !sources.pins.is_empty() {
        let history = store.history().await?;
        for path in &sources.pins {
            let file = match pin::parse(path) {
                // Nobody knows what it would hold.
                Err(failure) if path.exists() => return Err(failure.ending_with(Exit::Integrity)),
                parsed => parsed?,
            };
            file.hold(&mut outside, trust.as_ref(), store, &history)
                .await?;
        }
    }
    for path in &sources.in_use {
        let list = std::fs::read_to_string(path);
        let list = list.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        outside.in_use(&list);
    }
    store.see_processes(&mut outside, Path::new(PROC)).await?;
    for name in outside.stray() {
        let name = visible_line(name);
        session.events.note(format!(
            "warning: {name} is no file of the store, and is left alone: move it out of it"
        ));
    }
    Ok(outside)
}

fn print_sources(session: &Invocation, sources: &Sources) {
    let all = sources.pins.iter().chain(&sources.in_use);
    let all: Vec<String> = all.map(|path| path.display().to_string()).collect();
    session.events.note(format!(
        "looking at what the plan was made with: {}",
        all.join(", ")
    ));
}

fn print_survey(session: &Invocation, survey: &Survey) {
    for row in &survey.rows {
        if session.json {
            let mut value = serde_json::to_value(row).unwrap_or_default();
            value["goes"] = row.goes().into();
            print_json(&value);
        } else {
            print_line(&line(row));
        }
    }
}

fn line(row: &Row) -> String {
    let holds: Vec<String> = row.holds.iter().map(ToString::to_string).collect();
    let fate = match (row.state, holds.is_empty()) {
        (Presence::Present, true) => "GOES".to_owned(),
        (Presence::Present, false) => format!("stays: {}", holds.join("; ")),
        (Presence::Missing, true) => "missing".to_owned(),
        (Presence::Missing, false) => format!("MISSING, and wanted: {}", holds.join("; ")),
        (Presence::Unfinished, true) => "UNFINISHED: removed by the log, still there".to_owned(),
        (Presence::Unfinished, false) => {
            format!("removed by the log, stays: {}", holds.join("; "))
        }
        (Presence::Removed, _) => "removed".to_owned(),
    };
    let planned = match row.planned {
        Some(entry) if row.goes() => format!(" (planned by entry {entry})"),
        _ => String::new(),
    };
    format!(
        "{:<32} {:>9}  {}  {fate}{planned}",
        row.name,
        bytes(row.size),
        row.manifest.short()
    )
}

/// The sums, and what could not be seen.
fn print_dry_run(session: &Invocation, survey: &Survey, history: &History, outside: &ExternalUses) {
    let sums = Sums::of(survey);
    let open = |plan: &&Planned| {
        let rows = history.recorded().iter();
        let mut named = rows.filter(|one| one.planned.contains(&plan.seq));
        named.any(|one| one.deleted.is_none())
    };
    let plans: Vec<&Planned> = history.plans().iter().filter(open).collect();
    if session.json {
        let plans: Vec<_> = plans.iter().map(|plan| plan_json(plan)).collect();
        print_json(&serde_json::json!({
            "gc": "dry-run", "sums": sums.json(), "plans": plans, "unmatched": survey.unmatched,
            "not_seen": outside.not_seen(),
        }));
        return;
    }
    print_not_consulted(survey, outside);
    for plan in plans {
        print_line(&format!(
            "plan       entry {} of {}: may be carried out from {} on",
            plan.seq,
            plan.at,
            plan.due()
        ));
    }
    print_line(&format!(
        "dry run: {} would go, {} stay, {} unfinished; `--plan` writes a plan",
        shown(sums.goes),
        shown(sums.stays),
        shown(sums.unfinished)
    ));
}

fn print_plan(
    session: &Invocation,
    survey: &Survey,
    planned: Option<&Planned>,
    outside: &ExternalUses,
) {
    let sums = Sums::of(survey);
    let named = survey.rows.iter().filter(|row| row.goes()).count();
    let left = named.saturating_sub(MOST_ITEMS);
    if session.json {
        print_json(&serde_json::json!({
            "gc": "plan", "planned": planned.map(plan_json), "sums": sums.json(), "left_for_another_plan": left,
            "unmatched": survey.unmatched, "not_seen": outside.not_seen(),
        }));
        return;
    }
    print_not_consulted(survey, outside);
    let Some(plan) = planned else {
        print_line("nothing to plan: everything is held, or gone already");
        return;
    };
    if left > 0 {
        print_line(&format!(
            "{left} more are left for another plan: one names {MOST_ITEMS} at most"
        ));
    }
    print_line(&format!(
        "planned as entry {}: {} go; from {} on `vault-bake gc --apply {}` removes what nothing holds then",
        plan.seq,
        shown(sums.goes),
        plan.due(),
        plan.seq
    ));
}

fn print_applied(session: &Invocation, entry: u64, applied: &Applied, outside: &ExternalUses) {
    if session.json {
        let mut value = serde_json::to_value(applied).unwrap_or_default();
        value["gc"] = "apply".into();
        value["plan"] = entry.into();
        value["not_seen"] = outside.not_seen().into();
        print_json(&value);
        return;
    }
    for gone in &applied.removed {
        print_line(&format!("removed    {} (entry {})", gone.name, gone.entry));
    }
    for skipped in &applied.skipped {
        print_line(&format!("stays      {}: {}", skipped.name, skipped.why));
    }
    for failed in &applied.failed {
        print_line(&format!("LEFT       {}: {}", failed.file, failed.why));
    }
    for what in outside.not_seen() {
        print_line(&format!("NOT SEEN   {what}"));
    }
    if !applied.failed.is_empty() {
        print_line("some files could not be removed; repeat it, the log has their events");
    }
    let sum = Sum {
        artifacts: applied.files.len() as u64,
        bytes: applied.bytes,
    };
    print_line(&format!("{} removed; the records stay", shown(sum)));
}

fn print_not_consulted(survey: &Survey, outside: &ExternalUses) {
    for line in &survey.unmatched {
        print_line(&format!(
            "NOT OURS   in use, but no image of this store: {line}"
        ));
    }
    for what in outside.not_seen() {
        print_line(&format!("NOT SEEN   {what}"));
    }
}

fn plan_json(plan: &Planned) -> serde_json::Value {
    let mut value = serde_json::to_value(plan).unwrap_or_default();
    value["due"] = plan.due().to_string().into();
    value
}

struct Sums {
    goes: Sum,
    stays: Sum,
    unfinished: Sum,
}

impl Sums {
    fn of(survey: &Survey) -> Self {
        Self {
            goes: survey.sum(Row::goes),
            stays: survey.sum(|row| row.state == Presence::Present && !row.holds.is_empty()),
            unfinished: survey.sum(|row| row.state == Presence::Unfinished),
        }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({ "goes": self.goes, "stays": self.stays, "unfinished": self.unfinished })
    }
}

fn shown(sum: Sum) -> String {
    let files = match sum.artifacts {
        1 => "image file".to_owned(),
        _ => "image files".to_owned(),
    };
    format!("{} {files} ({})", sum.artifacts, bytes(sum.bytes))
}

/// Bytes as people read them.
fn bytes(bytes: u64) -> String {
    match bytes / (1024 * 1024) {
        0 => format!("{bytes} B"),
        mib => format!("{mib} MiB"),
    }
}
