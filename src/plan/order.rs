//! Checks the order of steps, their releases, and the seal at the end.

use crate::definition::{Action, Definition, Problem, Step, quoted_list};
use crate::provisioner::{Provisioner, Provisioners};

/// Returns all problems with the order of steps, by the rules of their provisioners.
pub(super) fn check(definition: &Definition, provisioners: &Provisioners) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, step) in definition.steps.iter().enumerate() {
        let last = index + 1 == definition.steps.len();
        let provisioner = match find_provisioner(step, provisioners) {
            Ok(provisioner) => provisioner,
            // An unknown provisioner may be the seal, so the seal is not checked.
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        match provisioner {
            Some(provisioner) if provisioner.seal && !last => {
                problems.push(
                    step.at
                        .problem(format!(
                            "`{}` seals the image; expected it to be the last step",
                            provisioner.name
                        ))
                        .with_hint("Move it to the end."),
                );
            }
            Some(provisioner) => {
                problems.extend(check_after(definition, index, provisioner).err());
                problems.extend(check_releases(definition, step, provisioner).err());
            }
            None => {}
        }
        if last && !provisioner.is_some_and(|provisioner| provisioner.seal) {
            problems.push(
                step.at
                    .problem("the last step does not seal the image; expected one that does")
                    .with_hint("Add a `[[step]]` with `provisioner = \"seal\"` at the end."),
            );
        }
    }
    problems
}

/// Returns the provisioner of `step`, or `None` for another action.
pub(super) fn find_provisioner<'a>(
    step: &Step,
    provisioners: &'a Provisioners,
) -> Result<Option<&'a Provisioner>, Problem> {
    let Action::Provisioner { provisioner, .. } = &step.action else {
        return Ok(None);
    };
    let found = provisioners.by_name.get(provisioner).ok_or_else(|| {
        let known = || provisioners.by_name.keys().map(String::as_str);
        step.at
            .below("provisioner")
            .problem(format!(
                "no provisioner `{provisioner}`; expected one of {}",
                quoted_list(known())
            ))
            .with_suggestion(
                provisioner,
                known(),
                "Load the provisioners of this definition.",
            )
    })?;
    Ok(Some(found))
}

fn check_after(
    definition: &Definition,
    index: usize,
    provisioner: &Provisioner,
) -> Result<(), Problem> {
    let step = &definition.steps[index];
    for later in &definition.steps[index + 1..] {
        if let Action::Provisioner {
            provisioner: name, ..
        } = &later.action
            && provisioner.after.contains(name)
        {
            return Err(step
                .at
                .problem(format!(
                    "`{}` comes before `{name}` (line {}); expected it after",
                    provisioner.name, later.at.line
                ))
                .with_hint(format!("Move it behind `{name}`.")));
        }
    }
    Ok(())
}

fn check_releases(
    definition: &Definition,
    step: &Step,
    provisioner: &Provisioner,
) -> Result<(), Problem> {
    let missing = provisioner
        .releases
        .iter()
        .find(|product| !definition.releases.contains_key(*product));
    match missing {
        None => Ok(()),
        Some(product) => Err(step
            .at
            .problem(format!(
                "`{}` installs {product}; expected its version in `[releases]`",
                provisioner.name
            ))
            .with_hint(format!(
                "Add `{product} = \"MAJOR.MINOR.PATCH\"` to `[releases]`."
            ))),
    }
}
