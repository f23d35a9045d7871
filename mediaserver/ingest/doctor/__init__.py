"""The ingest doctor: what is wrong with a stream, in words, and what to change in OBS."""

from mediaserver.ingest.doctor.doctor import Doctor, Patient, declared_frame_rate
from mediaserver.ingest.doctor.vitals import Vitals

__all__ = ["Doctor", "Patient", "Vitals", "declared_frame_rate"]
