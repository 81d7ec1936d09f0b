# Gozen: build, run, test. `make help` lists what there is.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help deps kernel build image demo guests debian run test test-fast test-kvm test-system fuzz generate lint vuln bench bench-size clean

# Never this machine's C compiler: all programs are static. Debian's go does not
# fetch the Go version of go.mod unless told to.
export CGO_ENABLED := 0
export GOTOOLCHAIN ?= auto
export GOFLAGS ?= -buildvcs=false

GO := scripts/go
VERSION := $(shell scripts/version)
LDFLAGS := -s -w -X gozen/dom0/cli.Version=$(VERSION)
MKIMAGE = $(GO) run ./image/cmd/mkimage -version $(VERSION)

# staticcheck 2026.2.2, and govulncheck.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
GODIRS := $(filter-out build/ bin/,$(wildcard */))

# How long `make fuzz` fuzzes each target.
FUZZTIME ?= 30s

help: ## Show this list
	@echo "Gozen $(VERSION)"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'
	@echo
	@echo "  make run ONCE=1      start, check and stop everything in order, isolated; for scripts"
	@echo "  make run DEBUG=1     the host with a shell on its console"
	@echo "  make fuzz FUZZTIME=5m"
	@echo "  make bench QUICK=1   exits, system calls and memory only, in minutes"
	@echo "  make bench PEER_KVMTOOL=/path/to/lkvm ONLY=start,cpu REPEAT=5"

deps: ## Install what is missing (root), or print the apt line
	@scripts/deps

kernel: ## Fetch Debian's 6.12 kernel into build/kernel
	@scripts/fetch-kernel

build: ## Build the gozen CLI to bin/gozen
	@mkdir -p bin build
	$(GO) build -trimpath -ldflags "$(LDFLAGS)" -o bin/ ./dom0/cmd/gozen

image: deps kernel ## Build build/gozen.efi and build/gozen.img, and what PXE and QEMU boot
	@mkdir -p build
	@$(MKIMAGE) $(if $(SEED),-seed $(SEED)) initramfs efi disk

demo: deps kernel ## Build the demo guest's initrd
	@mkdir -p build
	@$(MKIMAGE) demo

debian: deps ## Make a Debian guest: disk, kernel and initrd in build/debian
	@scripts/mkdebian

guests: debian kernel ## Build the guests that the system tests start
	@mkdir -p build
	@$(GO) run ./qemu-tests/mkguest -kernel build/kernel -o build/testguest.cpio

run: deps kernel build ## Boot Gozen in QEMU, start a demo guest on it, show its console
	@mkdir -p build
	@$(MKIMAGE) $(if $(DEBUG),-debug) initramfs demo
	@$(GO) build -trimpath -o build/gozen-run ./boot/cmd/gozen-run
	@build/gozen-run $(if $(ONCE),-once) $(if $(DEBUG),-debug)

test: ## Run all tests: unit, under emulated KVM, the whole system
	@rm -rf build/test
	@$(MAKE) --no-print-directory test-fast
	@$(MAKE) --no-print-directory test-kvm
	@$(MAKE) --no-print-directory test-system
	@$(GO) run ./scripts/testsum -total unit,kvm,system

test-fast: deps kernel ## Run vet and the unit tests
	$(GO) vet ./...
	@$(GO) test -json -timeout 10m ./... | $(GO) run ./scripts/testsum -stage unit

test-kvm: deps kernel ## Run the tests that need /dev/kvm, inside an emulated host
	@mkdir -p build
	@$(GO) run ./qemu-tests/kvmhost -json ./... | $(GO) run ./scripts/testsum -stage kvm

test-system: build image guests ## Boot the real image and drive it through its API
	@$(MKIMAGE) -debug initramfs
	@$(GO) test -json -tags system -count=1 -timeout 30m ./qemu-tests/system/... | $(GO) run ./scripts/testsum -stage system

fuzz: kernel ## Fuzz every target for FUZZTIME (30s)
	@scripts/fuzz $(FUZZTIME)

generate: ## Regenerate the API's Go code from the protobuf definitions
	$(GO) generate ./hypercalls/...

lint: ## Check formatting, vet and staticcheck, with every build tag
	@test -z "$$("$$($(GO) env GOROOT)/bin/gofmt" -l $(GODIRS) | tee /dev/stderr)"
	$(GO) vet ./...
	$(GO) vet -tags system ./...
	$(GO) vet -tags kvmhost ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) -tags system ./qemu-tests/...
	$(GO) run $(STATICCHECK) -tags kvmhost ./...

# Apart from lint, since it asks Go's vulnerability database over the network,
# which a machine that builds need not reach.
vuln: ## Check what is linked against Go's list of known vulnerabilities
	$(GO) run $(GOVULNCHECK) ./...

bench: image $(if $(QUICK),,debian) ## Measure Gozen beside QEMU and gokvm; the report goes to build/bench
	@scripts/deps bench
	@scripts/guest-kernel
	@$(GO) run ./qemu-tests/bench -version $(VERSION) $(if $(QUICK),-quick) $(if $(REPEAT),-repeat $(REPEAT)) $(if $(ONLY),-only $(ONLY)) $(if $(PAGE),-page $(PAGE))

bench-size: image demo ## Print sizes: EFI file, its parts, programs
	@$(MKIMAGE) sizes

clean: ## Remove everything that was built
	rm -rf build bin
