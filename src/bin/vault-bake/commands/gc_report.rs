//! Prints what `gc` found, planned and deleted, as text or as JSON.

use vault_bake::store::gc::{
    ArtifactTotal, ExternalUses, GcOutcome, MOST_ITEMS, Presence, Survey, SurveyRow,
};
use vault_bake::store::history::{History, RecordedPlan};

use crate::commands::{print_json, print_line};
use crate::invocation::Invocation;

/// Prints a line for each artifact.
pub fn print_survey(invocation: &Invocation, survey: &Survey) {
    for row in &survey.rows {
        if invocation.json {
            let mut value = serde_json::to_value(row).unwrap_or_default();
            value["goes"] = row.is_removable().into();
            print_json(&value);
        } else {
            print_line(&row_line(row));
        }
    }
}

fn row_line(row: &SurveyRow) -> String {
    let uses: Vec<String> = row.holds.iter().map(ToString::to_string).collect();
    let uses = uses.join("; ");
    let decision = match (row.state, uses.is_empty()) {
        (Presence::Present, true) => "DELETE".to_owned(),
        (Presence::Present, false) => format!("keep: {uses}"),
        (Presence::Missing, true) => "missing".to_owned(),
        (Presence::Missing, false) => format!("MISSING, needed: {uses}"),
        (Presence::Unfinished, true) => "UNFINISHED: deleted in the log, still there".to_owned(),
        (Presence::Unfinished, false) => format!("deleted in the log, keep: {uses}"),
        (Presence::Removed, _) => "deleted".to_owned(),
    };
    let planned = match row.planned {
        Some(entry) if row.is_removable() => format!(" (planned by entry {entry})"),
        _ => String::new(),
    };
    format!(
        "{:<32} {:>9}  {}  {decision}{planned}",
        row.name,
        format_bytes(row.size),
        row.manifest.short()
    )
}

/// Prints open plans and sums of a survey.
pub fn print_dry_run(
    invocation: &Invocation,
    survey: &Survey,
    history: &History,
    uses: &ExternalUses,
) {
    let sums = Sums::of(survey);
    let is_open = |plan: &&RecordedPlan| {
        let rows = history.recorded().iter();
        let mut planned = rows.filter(|one| one.planned.contains(&plan.seq));
        planned.any(|one| one.deleted.is_none())
    };
    let plans: Vec<&RecordedPlan> = history.plans().iter().filter(is_open).collect();
    if invocation.json {
        let plans: Vec<_> = plans.iter().map(|plan| plan_json(plan)).collect();
        print_json(&serde_json::json!({
            "gc": "dry-run", "sums": sums.json(), "plans": plans, "unmatched": survey.unmatched,
            "not_seen": uses.unchecked_sources(),
        }));
        return;
    }
    print_unmatched(survey, uses);
    for plan in plans {
        print_line(&format!(
            "plan       entry {} of {}, can be applied from {}",
            plan.seq,
            plan.at,
            plan.due()
        ));
    }
    print_line(&format!(
        "dry run: {} to delete, {} to keep, {} unfinished; `--plan` records a plan",
        format_sum(sums.goes),
        format_sum(sums.stays),
        format_sum(sums.unfinished)
    ));
}

/// Prints the plan that was recorded, if there is something to delete.
pub fn print_plan(
    invocation: &Invocation,
    survey: &Survey,
    planned: Option<&RecordedPlan>,
    uses: &ExternalUses,
) {
    let sums = Sums::of(survey);
    let deletable = survey.rows.iter().filter(|row| row.is_removable()).count();
    let left = deletable.saturating_sub(MOST_ITEMS);
    if invocation.json {
        print_json(&serde_json::json!({
            "gc": "plan", "planned": planned.map(plan_json), "sums": sums.json(),
            "left_for_another_plan": left, "unmatched": survey.unmatched,
            "not_seen": uses.unchecked_sources(),
        }));
        return;
    }
    print_unmatched(survey, uses);
    let Some(plan) = planned else {
        print_line("nothing to plan: every artifact is needed or already deleted");
        return;
    };
    if left > 0 {
        print_line(&format!(
            "{left} more need another plan: a plan has at most {MOST_ITEMS} artifacts"
        ));
    }
    print_line(&format!(
        "planned as entry {}: {} to delete; run `vault-bake gc --apply {}` from {} on",
        plan.seq,
        format_sum(sums.goes),
        plan.seq,
        plan.due()
    ));
}

/// Prints what was deleted, what was kept and what could not be deleted.
pub fn print_applied(
    invocation: &Invocation,
    entry: u64,
    applied: &GcOutcome,
    uses: &ExternalUses,
) {
    if invocation.json {
        let mut value = serde_json::to_value(applied).unwrap_or_default();
        value["gc"] = "apply".into();
        value["plan"] = entry.into();
        value["not_seen"] = uses.unchecked_sources().into();
        print_json(&value);
        return;
    }
    for deleted in &applied.removed {
        print_line(&format!(
            "deleted    {} (entry {})",
            deleted.name, deleted.entry
        ));
    }
    for skipped in &applied.skipped {
        print_line(&format!("keep       {}: {}", skipped.name, skipped.why));
    }
    for failed in &applied.failed {
        print_line(&format!("LEFTOVER   {}: {}", failed.file, failed.why));
    }
    print_not_seen(uses);
    if !applied.failed.is_empty() {
        print_line("some files could not be deleted; run the same command again");
    }
    let sum = ArtifactTotal {
        artifacts: applied.files.len() as u64,
        bytes: applied.bytes,
    };
    print_line(&format!("{} deleted; records are kept", format_sum(sum)));
}

/// Prints entries of lists that match no image, and uses that could not be read.
fn print_unmatched(survey: &Survey, uses: &ExternalUses) {
    for line in &survey.unmatched {
        print_line(&format!(
            "NOT OURS   in use, but no image of this store: {line}"
        ));
    }
    print_not_seen(uses);
}

fn print_not_seen(uses: &ExternalUses) {
    for what in uses.unchecked_sources() {
        print_line(&format!("NOT SEEN   {what}"));
    }
}

fn plan_json(plan: &RecordedPlan) -> serde_json::Value {
    let mut value = serde_json::to_value(plan).unwrap_or_default();
    value["due"] = plan.due().to_string().into();
    value
}

struct Sums {
    goes: ArtifactTotal,
    stays: ArtifactTotal,
    unfinished: ArtifactTotal,
}

impl Sums {
    fn of(survey: &Survey) -> Self {
        Self {
            goes: survey.total(SurveyRow::is_removable),
            stays: survey.total(|row| row.state == Presence::Present && !row.holds.is_empty()),
            unfinished: survey.total(|row| row.state == Presence::Unfinished),
        }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({ "goes": self.goes, "stays": self.stays, "unfinished": self.unfinished })
    }
}

fn format_sum(sum: ArtifactTotal) -> String {
    let noun = if sum.artifacts == 1 {
        "artifact"
    } else {
        "artifacts"
    };
    format!("{} {noun} ({})", sum.artifacts, format_bytes(sum.bytes))
}

fn format_bytes(bytes: u64) -> String {
    match bytes / (1024 * 1024) {
        0 => format!("{bytes} B"),
        mib => format!("{mib} MiB"),
    }
}
