// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Initializable } from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import { ERC1967Utils } from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import { SlotDerivation } from "@openzeppelin/contracts/utils/SlotDerivation.sol";
import { OctroiNext } from "./Doubles.sol";
import { Fixture } from "./Fixture.sol";
import { Core } from "../src/Core.sol";
import { Octroi } from "../src/Octroi.sol";
import { OctroiProxy } from "../src/OctroiProxy.sol";

contract CoreTest is Fixture {
    event Paused(address indexed account);
    event Unpaused(address indexed account);
    event SignerChanged(address indexed signer, address indexed previous, uint64 previousUntil);

    function test_initialState() public view {
        assertFalse(octroi.paused());
        (address current, address previous, uint64 until) = octroi.signer();
        assertEq(current, signer);
        assertEq(previous, address(0));
        assertEq(until, 0);
        assertTrue(octroi.hasRole(octroi.DEFAULT_ADMIN_ROLE(), admin));
        assertTrue(octroi.hasRole(octroi.TREASURER_ROLE(), admin));
        assertTrue(octroi.hasRole(octroi.TREASURER_ROLE(), payee));
        assertTrue(octroi.hasRole(octroi.TREASURER_ROLE(), operator));
        assertTrue(octroi.hasRole(octroi.OPERATOR_ROLE(), operator));
        assertTrue(octroi.hasRole(octroi.PAUSER_ROLE(), operator));
        assertTrue(octroi.hasRole(octroi.PAUSER_ROLE(), admin));
        assertFalse(octroi.hasRole(octroi.DEFAULT_ADMIN_ROLE(), address(this)));
    }

    function test_isInitialisedOnce() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        octroi.initialize(setup());
        Octroi bare = new Octroi();
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        bare.initialize(setup());
    }

    function test_refusesZeroAddressesInTheSetup() public {
        for (uint256 i = 0; i < 5; i++) {
            Octroi.Setup memory s = setup();
            if (i == 0) s.admin = address(0);
            if (i == 1) s.signer = address(0);
            if (i == 2) s.payee = address(0);
            if (i == 3) s.operator = address(0);
            if (i == 4) s.feeRecipient = address(0);
            Octroi implementation = new Octroi();
            vm.expectRevert(Core.ZeroAddress.selector);
            new OctroiProxy(address(implementation), initializer(s));
        }
    }

    function test_namespacesAreWhereErc7201PutsThem() public {
        bytes32 core = SlotDerivation.erc7201Slot("octroi.core");
        assertEq(vm.load(address(octroi), core), bytes32(uint256(uint160(signer))));
        bytes32 payments = SlotDerivation.erc7201Slot("octroi.payments");
        assertEq(uint256(vm.load(address(octroi), bytes32(uint256(payments) + 2))), 1);
        uint256 terms = pay(month());
        bytes32 key = keccak256(abi.encode(subscriber, SERVICE));
        bytes32 slot = keccak256(abi.encode(key, SlotDerivation.erc7201Slot("octroi.subscriptions")));
        assertEq(uint256(vm.load(address(octroi), slot)), terms);
    }

    function test_domainIsReadable() public view {
        (bytes1 fields, string memory name, string memory version, uint256 chain, address where,,) =
            octroi.eip712Domain();
        assertEq(uint8(fields), 0x0f);
        assertEq(name, "Octroi");
        assertEq(version, "1");
        assertEq(chain, block.chainid);
        assertEq(where, address(octroi));
    }

    function test_pauseStopsPayments() public {
        vm.expectEmit(address(octroi));
        emit Paused(operator);
        vm.prank(operator);
        octroi.pause();
        assertTrue(octroi.paused());
        refused(month(), abi.encodeWithSelector(Core.IsPaused.selector));
        vm.expectRevert(Core.IsPaused.selector);
        vm.prank(operator);
        octroi.pause();
        vm.expectEmit(address(octroi));
        emit Unpaused(admin);
        vm.prank(admin);
        octroi.unpause();
        pay(month());
        vm.expectRevert(Core.NotPaused.selector);
        vm.prank(admin);
        octroi.unpause();
    }

    function test_pauseAndUnpauseNeedTheirRoles() public {
        bytes32 pauser = octroi.PAUSER_ROLE();
        vm.expectRevert(missingRole(stranger, pauser));
        vm.prank(stranger);
        octroi.pause();
        vm.expectRevert(missingRole(operator, 0));
        vm.prank(operator);
        octroi.unpause();
    }

    function test_refusesAnotherSigner() public {
        uint256 terms = pack(month());
        (address other, uint256 otherKey) = makeAddrAndKey("other");
        (bytes32 r, bytes32 vs) = sign(otherKey, terms);
        vm.expectRevert(abi.encodeWithSelector(Core.BadSigner.selector, other));
        vm.prank(subscriber);
        octroi.pay(SERVICE, address(token), terms, r, vs);
    }

    function test_refusesASignatureThatIsNone() public {
        uint256 terms = pack(month());
        bytes memory why = abi.encodeWithSelector(Core.BadSigner.selector, address(0));
        vm.startPrank(subscriber);
        vm.expectRevert(why);
        octroi.pay(SERVICE, address(token), terms, 0, 0);
        // The other s of a good signature.
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(signerKey, digestOf(subscriber, address(token), terms));
        uint256 n = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        uint256 vs = n - uint256(s);
        vs |= uint256(v == 27 ? 1 : 0) << 255;
        vm.expectRevert();
        octroi.pay(SERVICE, address(token), terms, r, bytes32(vs));
    }

    function test_aQuoteIsItsSubscribersAlone() public {
        uint256 terms = pack(month());
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        token.mint(stranger, PRICE);
        vm.startPrank(stranger);
        token.approve(address(octroi), PRICE);
        vm.expectPartialRevert(Core.BadSigner.selector);
        octroi.pay(SERVICE, address(token), terms, r, vs);
    }

    function testFuzz_aChangedQuoteIsRefused(uint8 bit) public {
        uint256 terms = pack(month());
        (bytes32 r, bytes32 vs) = sign(signerKey, terms);
        vm.expectPartialRevert(Core.BadSigner.selector);
        vm.prank(subscriber);
        octroi.pay(SERVICE, address(token), terms ^ (1 << bit), r, vs);
    }

    function test_previousSignerIsGoodThroughItsDeadline() public {
        (address next, uint256 nextKey) = makeAddrAndKey("next");
        uint64 until = uint64(NOW + 2 minutes);
        vm.expectEmit(address(octroi));
        emit SignerChanged(next, signer, until);
        vm.prank(admin);
        octroi.setSigner(next, until);
        Fields memory f = month();
        f.validUntil = minute(NOW + 1 hours);
        vm.warp(until);
        pay(f);
        f.seq = 2;
        vm.warp(until + 1);
        refused(f, abi.encodeWithSelector(Core.BadSigner.selector, signer));
        signerKey = nextKey;
        pay(f);
    }

    function test_previousSignerMayBeCutOffAtOnce() public {
        vm.prank(admin);
        octroi.setSigner(makeAddr("next"), 0);
        refused(month(), abi.encodeWithSelector(Core.BadSigner.selector, signer));
    }

    function test_setSignerIsBounded() public {
        uint64 until = uint64(NOW + octroi.MAX_SIGNER_OVERLAP() + 1);
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSelector(Core.OverlapTooLong.selector, until));
        octroi.setSigner(stranger, until);
        vm.expectRevert(Core.ZeroAddress.selector);
        octroi.setSigner(address(0), 0);
        vm.stopPrank();
        vm.expectRevert(missingRole(operator, 0));
        vm.prank(operator);
        octroi.setSigner(stranger, 0);
    }

    function test_theAdminRoleIsHandedOverInTwoSteps() public {
        assertEq(octroi.defaultAdmin(), admin);
        assertEq(octroi.owner(), admin);
        vm.expectRevert(missingRole(operator, 0));
        vm.prank(operator);
        octroi.beginDefaultAdminTransfer(operator);
        vm.startPrank(admin);
        vm.expectRevert(abi.encodeWithSignature("AccessControlEnforcedDefaultAdminRules()"));
        octroi.grantRole(0, stranger);
        octroi.beginDefaultAdminTransfer(stranger);
        octroi.setPayee(payee); // still the admin
        vm.stopPrank();
        vm.warp(block.timestamp + 1);
        vm.expectRevert(abi.encodeWithSignature("AccessControlInvalidDefaultAdmin(address)", operator));
        vm.prank(operator);
        octroi.acceptDefaultAdminTransfer();
        vm.prank(stranger);
        octroi.acceptDefaultAdminTransfer();
        vm.prank(stranger);
        octroi.setPayee(payee);
        vm.expectRevert(missingRole(admin, 0));
        vm.prank(admin);
        octroi.setPayee(payee);
    }

    function test_theAdminRoleIsHandedOverAfterItsDelay() public {
        Octroi.Setup memory s = setup();
        s.adminDelay = 3 days;
        octroi = Octroi(address(new OctroiProxy(address(new Octroi()), initializer(s))));
        assertEq(octroi.defaultAdminDelay(), 3 days);
        vm.prank(admin);
        octroi.beginDefaultAdminTransfer(stranger);
        vm.warp(NOW + 3 days);
        vm.expectRevert(
            abi.encodeWithSignature("AccessControlEnforcedDefaultAdminDelay(uint48)", NOW + 3 days)
        );
        vm.prank(stranger);
        octroi.acceptDefaultAdminTransfer();
        vm.prank(admin);
        octroi.cancelDefaultAdminTransfer();
        vm.warp(NOW + 4 days);
        vm.expectRevert();
        vm.prank(stranger);
        octroi.acceptDefaultAdminTransfer();
        vm.prank(admin);
        octroi.beginDefaultAdminTransfer(stranger);
        vm.warp(NOW + 7 days + 1);
        vm.prank(stranger);
        octroi.acceptDefaultAdminTransfer();
        assertEq(octroi.defaultAdmin(), stranger);
    }

    function test_upgradeKeepsTheStateAndNeedsTheAdmin() public {
        uint256 terms = pay(month());
        address next = address(new OctroiNext());
        vm.expectRevert(missingRole(operator, 0));
        vm.prank(operator);
        octroi.upgradeToAndCall(next, "");
        vm.prank(admin);
        octroi.upgradeToAndCall(next, "");
        assertEq(OctroiNext(address(octroi)).generation(), 2);
        assertEq(octroi.slotOf(subscriber, SERVICE), terms);
        vm.expectRevert(
            abi.encodeWithSelector(ERC1967Utils.ERC1967InvalidImplementation.selector, address(token))
        );
        vm.prank(admin);
        octroi.upgradeToAndCall(address(token), "");
    }
}
