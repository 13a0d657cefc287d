"""Example results of audits."""

from federation.privacy.audit_result import AttackRate, AuditResult

STUDY = "sha256:study"


def example_audit(kind="mechanism", *, bound=1.92, claimed=2.17, digest=STUDY, **changes) -> AuditResult:
    details = {
        "mechanism": {"exact_epsilon": 2.0, "samples": 200_000, "attacked": "one noisy release"},
        "one_run": {"num_guesses": 1000, "num_correct": 743, "samples": 5000, "attacked": "all 15 rounds of training"},
        "membership": {
            "num_shadow_models": 64,
            "samples": 600,
            "attacked": "the released model: who was a training patient",
            "rates": (
                AttackRate(
                    false_positives=1,
                    others=120,
                    true_positives=9,
                    members=480,
                    true_rate_lower=0.007,
                    true_rate_upper=0.038,
                    false_rate_upper=0.05,
                    allowed=0.37,
                ),
            ),
        },
    }[kind]
    return AuditResult(
        **{
            "kind": kind,
            "manifest_digest": digest,
            "method": "a bound from a paper",
            "confidence": 0.95,
            "lower_bound_epsilon": bound,
            "delta": 1e-3,
            "claimed_epsilon": claimed,
            "passed": bound <= claimed,
            **details,
            **changes,
        }
    )
