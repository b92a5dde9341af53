module signalbox.example/story

go 1.24

require gitlab.com/gitlab-org/api/client-go v1.46.0
