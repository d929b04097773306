"""Jobs, trials, tasks and leases: what they are and how they change. Plain Python.

The table of transitions. Every line is one method; nothing else assigns a state.

Job
  (new)                    -> RUNNING     `create_job`: the request is valid
  RUNNING                  -> SUCCEEDED   `Job.finish`: nothing is left to run in either stage
  RUNNING                  -> FAILED      `Job.settle`, `Job.finish`: too many failed; `Job.fail`
  RUNNING                  -> CANCELLING  `Job.cancel`: on request
  CANCELLING               -> CANCELLED   `Job.cancel`, `Job.settle`: no trial is open any more
  SUCCEEDED, FAILED, CANCELLED -> RUNNING `Job.resume`: with its history, up to the limits given

Trial                                     SUCCEEDED, INFEASIBLE, FAILED, CANCELLED never change
  (new)                    -> REQUESTED   `Job.request_trial`, `Job.request_train_trial`: a slot is free
  REQUESTED                -> ACTIVE      `Trial.start`: a worker claimed one of its tasks
  ACTIVE                   -> SUCCEEDED   `Trial.succeed`: trained and, where asked for, measured
  ACTIVE                   -> INFEASIBLE  `Trial.reject`: it ran, but cannot count
  REQUESTED, ACTIVE        -> FAILED      `Trial.fail`: a task failed for good
  REQUESTED, ACTIVE        -> STOPPING    `Trial.stop`: the job was cancelled or failed
  STOPPING                 -> CANCELLED   `Trial.cancel`: no worker holds a task of it any more

Task                                      DONE, FAILED, CANCELLED never change
  (new)                    -> QUEUED      TRAIN with its trial, MEASURE with the first SavedModel
  QUEUED                   -> LEASED      `Task.lease`: a worker claimed it
  LEASED                   -> LEASED      `Task.renew`: the same worker, the same token
  LEASED                   -> DONE        `Task.complete`
  LEASED                   -> FAILED      `Task.fail`: for good
  LEASED                   -> QUEUED      `Task.requeue`: released, lost, or failed but worth another try
  QUEUED                   -> CANCELLED   `Task.cancel`: its trial has ended or is stopping
  LEASED                   -> CANCELLED   `Task.cancel`: as above, once its worker has let go or is lost
"""
