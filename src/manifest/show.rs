//! Prints a manifest as plain text, without colour.

use std::fmt;

use super::{CheckFact, LayerFact, Manifest, Output, ReleaseFact, ResumedFact, StepFact};

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name())?;
        writeln!(f, "  created   {} by build {}", self.created_at, self.build)?;
        let Self { os, builder, .. } = self;
        writeln!(
            f,
            "  builder   {}, vault-bake {} on {}/{}",
            builder.name, builder.tool.version, builder.host.os, builder.host.arch
        )?;
        source(f, self)?;
        writeln!(
            f,
            "  system    {} {}, kernel {}",
            os.id, os.version, os.kernel
        )?;
        writeln!(f, "  base      disk {}", self.base.digest())?;
        writeln!(
            f,
            "  packages  {} by {}, {}",
            self.packages.count, self.packages.manager, self.packages.digest
        )?;
        if let Some(sbom) = &self.sbom {
            let (media_type, size) = (&sbom.media_type, size(sbom.size));
            writeln!(f, "  sbom      {media_type}, {size}, {}", sbom.digest)?;
        }
        writeln!(f, "releases")?;
        self.releases.iter().try_for_each(|one| release(f, one))?;
        if !self.variables.is_empty() {
            writeln!(f, "variables")?;
        }
        for (name, value) in &self.variables {
            writeln!(f, "  {name} = {value}")?;
        }
        writeln!(f, "steps")?;
        self.steps.iter().try_for_each(|one| step(f, one))?;
        if !self.layers.is_empty() {
            writeln!(f, "cache entries")?;
        }
        self.layers.iter().try_for_each(|one| layer(f, one))?;
        if let Some(ResumedFact {
            build,
            memory_sha256,
        }) = &self.resumed
        {
            writeln!(
                f,
                "resumed from the VM snapshot of build {build}, {memory_sha256}"
            )?;
        }
        checks(f, &self.checks)?;
        writeln!(f, "outputs")?;
        self.outputs.iter().try_for_each(|one| output(f, one))?;
        if !self.repro.hermetic {
            writeln!(f, "not pinned")?;
        }
        for what in &self.repro.not_pinned {
            writeln!(f, "  {what}")?;
        }
        Ok(())
    }
}

fn layer(f: &mut fmt::Formatter<'_>, layer: &LayerFact) -> fmt::Result {
    let LayerFact {
        build,
        digest,
        made_at,
        step,
        ..
    } = layer;
    writeln!(f, "  {step}, made {made_at} by build {build}, {digest}")
}

fn source(f: &mut fmt::Formatter<'_>, manifest: &Manifest) -> fmt::Result {
    let source = &manifest.source;
    if let Some(commit) = &source.commit {
        let repo = source
            .repo
            .as_deref()
            .map_or(String::new(), |repo| format!("{repo} "));
        let dirty = match source.dirty {
            Some(true) => ", with uncommitted changes",
            _ => "",
        };
        writeln!(f, "  source    {repo}{commit}{dirty}")?;
    }
    writeln!(f, "  plan      {}", source.plan_digest)
}

fn release(f: &mut fmt::Formatter<'_>, release: &ReleaseFact) -> fmt::Result {
    let fixture = if release.fixture {
        "  FIXTURE, not an official release"
    } else {
        ""
    };
    let ReleaseFact {
        product, version, ..
    } = release;
    writeln!(f, "  {product} {version}{fixture}")?;
    writeln!(f, "    binary    {}", release.binary_sha256)?;
    writeln!(
        f,
        "    signed    {} by {} ({})",
        release.signed_at, release.signer, release.primary_fingerprint
    )
}

fn step(f: &mut fmt::Formatter<'_>, step: &StepFact) -> fmt::Result {
    writeln!(
        f,
        "  {:16} {:12} {:>9}  sha256:{}",
        step.name,
        step.kind,
        seconds(step.elapsed_ms),
        step.digest.short()
    )
}

fn checks(f: &mut fmt::Formatter<'_>, checks: &[CheckFact]) -> fmt::Result {
    let skipped = checks.iter().filter(|check| check.skipped.is_some());
    let failed: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
    writeln!(
        f,
        "checks: {}, of these {} skipped, {} failed",
        checks.len(),
        skipped.count(),
        failed.len()
    )?;
    for check in failed {
        writeln!(f, "  not ok {}: {}", check.id, check.description)?;
    }
    Ok(())
}

fn output(f: &mut fmt::Formatter<'_>, output: &Output) -> fmt::Result {
    let Output {
        target,
        arch,
        firmware,
        format,
        ..
    } = output;
    let virtual_size = size(output.virtual_size());
    match (&output.file, &output.cloud) {
        (Some(file), _) => {
            let stored = size(file.size);
            writeln!(
                f,
                "  {target} {format} {arch} {firmware}, {stored} ({virtual_size} disk)"
            )?;
            writeln!(f, "    {}", file.digest)?;
        }
        (None, cloud) => {
            let class = &output.class;
            writeln!(
                f,
                "  {target} {class} {arch} {firmware}, {virtual_size} disk"
            )?;
            if let Some(created_at) = cloud.as_ref().and_then(|cloud| cloud.created_at) {
                writeln!(f, "    made {created_at}")?;
            }
        }
    }
    writeln!(f, "    {}", output.id)
}

/// Formats milliseconds as seconds with one decimal.
fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// Formats bytes in a suitable unit with one decimal.
pub(super) fn size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}
