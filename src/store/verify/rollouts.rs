//! Checks the plans of rollouts, and the signed records of those that ended.

use super::Named;
use crate::store::backend::Backend;
use crate::store::history::History;
use crate::store::report::VerifyReport;
use crate::store::{Store, StoreError};

impl<B: Backend> Store<B> {
    pub(super) async fn check_rollouts(
        &self,
        history: &History,
        named: &mut Named,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        for rollout in history.rollouts() {
            report.rollouts += u64::from(!rollout.takes_over);
            let mut plans = vec![rollout.plan];
            let record = self.rollout_record(history, rollout).await;
            plans.extend(
                report
                    .keep(record)?
                    .flatten()
                    .into_iter()
                    .flat_map(|one| one.plans),
            );
            if let Some(end) = &rollout.end {
                named.records.extend([end.record, end.envelope]);
            }
            for plan in plans {
                if named.plans.insert(plan) {
                    report.keep(self.object(&plan).await)?;
                    named.records.push(plan);
                }
            }
        }
        Ok(())
    }
}
