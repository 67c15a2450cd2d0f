"""What an experiment is: records, time, storage and the contracts between rooms. Imports nothing of ours."""
